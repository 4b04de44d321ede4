import type { BackupFacts, Queryable } from '../../db/index.ts'
import { newestBlock } from '../../ledger/index.ts'
import { countSealed } from '../../vault/index.ts'
import { version } from '../version.ts'

/** What a copy of the database is held against: read right before the copy ends. */
export async function readFacts(client: Queryable): Promise<BackupFacts> {
  const { rows: server } = await client.query<{ version: string }>(
    `select split_part(current_setting('server_version'), ' ', 1) as version`,
  )
  const { rows: migrations } = await client.query<{ name: string }>(
    'select name from kysely_migration order by name',
  )
  return {
    postgres: server[0]!.version,
    trestle: version(),
    migrations: migrations.map(({ name }) => name),
    ledger: (await newestBlock(client)) ?? null,
    counts: await countRows(client),
    masterKeys: await namesOfMasterKeys(client),
  }
}

const COUNTED = ['connections', 'events', 'event_keys', 'runs', 'journal', 'ledger_blocks'] as const

/** Rows that are there now. None of these is ever removed by itself within the time that a copy takes. */
export async function countRows(client: Queryable): Promise<Record<string, number>> {
  const { rows } = await client.query<Record<string, string>>(
    `select ${COUNTED.map((name) => `(select count(*) from ${name}) as ${name}`).join(', ')}`,
  )
  return Object.fromEntries(COUNTED.map((name) => [name, Number(rows[0]![name])]))
}

/** Every sealed value begins with the name of its master key, in clear. */
async function namesOfMasterKeys(client: Queryable): Promise<string[]> {
  const { byKey } = await countSealed(client)
  return [...byKey.keys()].filter((name) => name !== '').sort()
}
