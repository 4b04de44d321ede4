import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { systemRandom } from '../base/index.ts'
import { env, type ConnectionDefinition } from '../define/index.ts'
import { transaction, type Queryable } from '../db/index.ts'
import { openLedgerKey } from '../ledger/index.ts'
import { localMasterKey, type MasterKey } from './masterKey.ts'
import { open, seal } from './seal.ts'
import { BATCH } from './sealAnew.ts'
import { SEALED_COLUMNS } from './sealedColumns.ts'
import type { VaultStorage } from './storage.ts'
import {
  connectorWith,
  ENVIRONMENT,
  openVaultFixture,
  SIGNED_WEBHOOKS,
  type VaultFixture,
} from './vault.fixture.ts'
import type { Vault } from './vault.ts'

let fixture: VaultFixture
beforeAll(async () => {
  fixture = await openVaultFixture()
})
afterAll(() => fixture.close())
beforeEach(() => fixture.clear())

const PAY = connectorWith('pay', { kind: 'bearer' }, { webhooks: SIGNED_WEBHOOKS })
const LATE = connectorWith('late', { kind: 'bearer' })
const BOOKS = connectorWith('books', {
  kind: 'oauth2',
  tokenUrl: 'https://books.example/token',
  authorizeUrl: 'https://books.example/authorize',
  scopes: [],
  clientAuth: 'post',
})
const DECLARED: Readonly<Record<string, ConnectionDefinition>> = {
  pay: PAY.connect({ secrets: { token: env('PAY') }, webhookSecrets: [env('HOOK')] }),
  books: BOOKS.connect({
    secrets: { clientId: 'c', clientSecret: env('CLIENT'), refreshToken: env('REFRESH') },
  }),
}
const SECRETS = { PAY: 'sk_live_1', HOOK: 'whsec_1', CLIENT: 'cs_1', REFRESH: 'rt_1' }
const REQUEST = { actor: 'operator:ada', tenant: 'default' } as const
const newKey = (): MasterKey => localMasterKey(systemRandom.bytes(32), systemRandom)
const turning = (to: MasterKey, former: MasterKey): MasterKey => ({ ...to, former })

/** Every kind of sealed value is there, under the fixture's key. */
async function fill(vault: Vault = fixture.vault): Promise<void> {
  Object.assign(ENVIRONMENT, SECRETS)
  await vault.syncDeclared('default', DECLARED)
  await openLedgerKey(fixture.database.pool, vault.installationSeal('ledger-key'), systemRandom)
  const { id } = await vault.loadConnection('default', 'books')
  const place = { tenant: 'default', record: id, field: 'grant.answer/rfr_1' }
  await fixture.database.pool.query(
    `insert into grant_refreshes (tenant, connection_id, id, replaces, state, lease_until, answer)
     values ('default', $1, 'rfr_1', 1, 'superseded', now(), $2)`,
    [id, await seal(fixture.key.wrapper, place, Buffer.from('an answer'), systemRandom)],
  )
}

/** Every sealed value, by its place, with the key that it is under and what it opens to. */
async function opened(key: MasterKey): Promise<Record<string, string>> {
  const values: Record<string, string> = {}
  for (const column of SEALED_COLUMNS) {
    const { rows } = await fixture.database.pool.query<{ key: string[]; sealed: Buffer }>(
      `select array[${column.primaryKey.join(', ')}] as key, ${column.column} as sealed from ${column.table}
       where ${column.column} is not null and ${column.rows ?? 'true'} order by 1`,
    )
    for (const row of rows)
      values[`${column.table} ${row.key.join('/')}`] = (
        await open(key, column.placeOf(row.key), row.sealed)
      ).toString('latin1')
  }
  return values
}

async function namesOfKeys(): Promise<string[]> {
  return [...(await fixture.vault.masterKeyState()).sealed.keys()]
}

/** Everything that a rotation could write, as text. */
async function everything(): Promise<string> {
  const parts: unknown[] = []
  for (const table of [
    'secrets',
    'grant_refreshes',
    'installation',
    'master_key',
    'master_key_rotations',
    'ledger',
  ])
    parts.push((await fixture.database.pool.query(`select t::text from ${table} t order by 1`)).rows)
  return JSON.stringify(parts)
}

describe('a rotation', () => {
  it('turns everything sealed, so that the new key alone opens it, and the former one nothing', async () => {
    await fill()
    const before = await opened(fixture.key)
    expect(Object.keys(before).map((name) => name.split(' ')[0])).toEqual(
      expect.arrayContaining(['secrets', 'grant_refreshes', 'installation']),
    )
    const next = newKey()
    const progress: string[] = []
    const result = await fixture
      .node({ key: turning(next, fixture.key) })
      .rotateMasterKey({ ...REQUEST, onProgress: (done, total) => progress.push(`${done}/${total}`) })
    const count = Object.keys(before).length
    expect(result).toEqual({
      from: fixture.key.wrapper.id,
      to: next.wrapper.id,
      sealedAnew: count,
      sealed: count,
      resumed: false,
    })
    expect(await opened(next)).toEqual(before)
    expect(await namesOfKeys()).toEqual([next.wrapper.id])
    expect(progress.at(-1)).toBe(`${count}/${count}`)
    await fixture.node({ key: next }).checkMasterKey()
    await expect(fixture.vault.checkMasterKey()).rejects.toMatchObject({ code: 'master_key_wrong' })
  })

  it('gives every value another data key', async () => {
    await fill()
    const dataKeys = async (): Promise<string[]> => {
      const { rows } = await fixture.database.pool.query<{ sealed: Buffer }>('select sealed from secrets')
      return rows.map(({ sealed }) =>
        sealed.subarray(2 + sealed[1]! + 2, 2 + sealed[1]! + 2 + 60).toString('hex'),
      )
    }
    const before = await dataKeys()
    await fixture.node({ key: turning(newKey(), fixture.key) }).rotateMasterKey(REQUEST)
    const after = await dataKeys()
    expect(new Set([...before, ...after]).size).toBe(before.length + after.length)
  })

  it('changes nothing else: no version, no secret that seems new, no grant that is planted again', async () => {
    await fill()
    const rows = async (): Promise<unknown[]> =>
      (await fixture.database.pool.query('select field, version, updated_at from secrets order by field'))
        .rows
    const before = await rows()
    const next = newKey()
    await fixture.node({ key: turning(next, fixture.key) }).rotateMasterKey(REQUEST)
    const entries = (await fixture.entries()).length
    const synced = await fixture.node({ key: next }).syncDeclared('default', DECLARED)
    expect(synced.connections.map((one) => one.change)).toEqual(['unchanged', 'unchanged'])
    expect(await rows()).toEqual(before)
    expect((await fixture.entries()).length).toBe(entries)
  })

  it('is in the ledger with its actor, when it begins and when it is over', async () => {
    await fill()
    const next = newKey()
    await fixture.node({ key: turning(next, fixture.key) }).rotateMasterKey(REQUEST)
    const told = (await fixture.entries()).filter((entry) => entry.action.startsWith('master_key.'))
    expect(told.map(({ action, actor, target }) => ({ action, actor, target }))).toEqual([
      { action: 'master_key.rotation_begun', actor: 'operator:ada', target: next.wrapper.id },
      { action: 'master_key.rotated', actor: 'operator:ada', target: next.wrapper.id },
    ])
  })

  it('can be followed by another, and by as many as one likes', async () => {
    await fill()
    let former = fixture.key
    const before = await opened(former)
    for (let i = 0; i < 3; i++) {
      const next = newKey()
      await fixture.node({ key: turning(next, former) }).rotateMasterKey(REQUEST)
      former = next
    }
    expect(await opened(former)).toEqual(before)
  })
})

describe('nodes around a rotation', () => {
  it('that know the next key go on sealing under the present one until it begins, for those that do not', async () => {
    await fill()
    const next = newKey()
    const both = fixture.node({ key: turning(next, fixture.key) })
    ENVIRONMENT['PAY'] = 'sk_live_2'
    await both.syncDeclared('default', DECLARED)
    expect(await namesOfKeys()).toEqual([fixture.key.wrapper.id])
    const pay = await fixture.vault.loadConnection('default', 'pay')
    expect(await fixture.vault.secretValuesOf(pay)).toContain('sk_live_2')

    await both.rotateMasterKey(REQUEST)
    ENVIRONMENT['PAY'] = 'sk_live_3'
    await fixture.node({ key: turning(next, fixture.key) }).syncDeclared('default', DECLARED)
    expect(await namesOfKeys()).toEqual([next.wrapper.id])
  })

  it('that have the former key alone seal nothing under it any more, and say what to do', async () => {
    await fill()
    const next = newKey()
    await fixture.node({ key: turning(next, fixture.key) }).rotateMasterKey(REQUEST)
    const before = await everything()
    const wrong = { code: 'master_key_wrong', message: expect.stringContaining(next.wrapper.id) as string }
    await expect(fixture.vault.syncDeclared('default', DECLARED)).rejects.toMatchObject(wrong)
    await expect(fixture.vault.announceKeys()).rejects.toMatchObject(wrong)
    await expect(fixture.vault.installationSeal('x').seal(Buffer.from('x'))).rejects.toMatchObject(wrong)
    const pay = await fixture.vault.loadConnection('default', 'pay')
    await expect(fixture.node().secretValuesOf(pay)).rejects.toMatchObject({
      code: 'secret_unreadable',
      message: expect.stringMatching(/trestle vault rotate/) as string,
    })
    expect(await everything()).toBe(before)
  })

  it('that have the new key alone cannot start in the middle, and write nothing', async () => {
    await fill()
    const next = newKey()
    await dieAfter(1, turning(next, fixture.key))
    const before = await everything()
    await expect(fixture.node({ key: next }).syncDeclared('default', DECLARED)).rejects.toMatchObject({
      code: 'master_key_wrong',
      message: expect.stringContaining('TRESTLE_MASTER_KEY_PREVIOUS') as string,
    })
    expect(await everything()).toBe(before)
  })

  it('that lack the new key keep it from beginning, until they ended', async () => {
    await fill()
    const key = turning(newKey(), fixture.key)
    await fixture.vault.announceKeys()
    await fixture.node({ key }).announceKeys()
    const before = await everything()
    await expect(fixture.node({ key }).rotateMasterKey(REQUEST)).rejects.toMatchObject({
      code: 'nodes_lack_key',
      message: expect.stringContaining(`pid ${process.pid}.`) as string,
    })
    expect(await everything()).toBe(before)
    await fixture.vault.withdrawKeys()
    await fixture.node({ key }).rotateMasterKey(REQUEST)
  })

  it('that were killed do not keep it from beginning for long', async () => {
    await fill()
    await fixture.vault.announceKeys()
    await fixture.database.pool.query(
      `update master_key_holders set seen_at = seen_at - interval '31 seconds'`,
    )
    await fixture.node({ key: turning(newKey(), fixture.key) }).rotateMasterKey(REQUEST)
  })
})

describe('what is written meanwhile', () => {
  it('is not overwritten: a secret that was changed between the reading and the writing of it stays', async () => {
    await fill()
    const key = turning(newKey(), fixture.key)
    const other = fixture.node({ key })
    let changed = false
    const storage = storageWith(async (statement) => {
      if (changed || !statement.includes('unnest')) return
      changed = true
      ENVIRONMENT['PAY'] = 'sk_live_changed'
      await other.syncDeclared('default', DECLARED)
    })
    await fixture.node({ key, storage }).rotateMasterKey(REQUEST)
    expect(changed).toBe(true)
    const pay = await other.loadConnection('default', 'pay')
    expect(await fixture.node({ key }).secretValuesOf(pay)).toContain('sk_live_changed')
    expect(await namesOfKeys()).toEqual([key.wrapper.id])
  })

  it('is not waited for under a lock, and turned when it is free', async () => {
    await fill()
    const key = turning(newKey(), fixture.key)
    let release = (): void => {}
    let held: Promise<void> | undefined
    await new Promise<void>((isHeld) => {
      held = transaction(fixture.database.pool, async (client) => {
        await client.query(`select 1 from secrets where field = 'token' for update`)
        await new Promise<void>((resolve) => {
          release = resolve
          isHeld()
        })
      })
    })
    let passes = 0
    const storage = storageWith((statement) => {
      // The second look at the secrets: what is left is the one that is held.
      if (statement.includes('as primary_key') && statement.includes('from secrets') && ++passes === 2)
        release()
      return Promise.resolve()
    })
    await fixture.node({ key, storage }).rotateMasterKey(REQUEST)
    await held
    expect(passes).toBeGreaterThanOrEqual(2)
    expect(await namesOfKeys()).toEqual([key.wrapper.id])
  })

  it('under the former key is committed before it begins, so that nothing is left behind', async () => {
    await fill()
    const key = turning(newKey(), fixture.key)
    let release = (): void => {}
    let sealed: Promise<void> | undefined
    await new Promise<void>((isSealed) => {
      // A node that has sealed a secret under the former key, and stands before its commit.
      const node = fixture.node({
        storage: {
          reader: fixture.database.pool,
          transaction: (work) =>
            transaction(fixture.database.pool, async (client) => {
              const result = await work(client)
              await new Promise<void>((resolve) => {
                release = resolve
                isSealed()
              })
              return result
            }),
        },
      })
      sealed = node
        .addConnection({
          tenant: 'default',
          name: 'late',
          definition: LATE.connect({ secrets: { token: 'sk_late' } }),
          actor: 'system',
        })
        .then(() => undefined)
    })
    const rotating = fixture.node({ key }).rotateMasterKey(REQUEST)
    await untilWaiting('update master_key set')
    release()
    await Promise.all([rotating, sealed])
    expect(await namesOfKeys()).toEqual([key.wrapper.id])
    const node = fixture.node({ key })
    expect(await node.secretValuesOf(await node.loadConnection('default', 'late'))).toContain('sk_late')
  })
})

describe('a rotation that was ended in the middle', () => {
  it.each([1, 2, 3])(
    'after %i statements that wrote is carried on by the next, with nothing lost',
    async (writes) => {
      await fill()
      const before = await opened(fixture.key)
      const key = turning(newKey(), fixture.key)
      await dieAfter(writes, key)
      expect((await fixture.vault.masterKeyState()).rotations[0]?.finishedAt).toBeUndefined()
      expect(await opened(key)).toEqual(before)
      expect(await fixture.node({ key }).rotateMasterKey(REQUEST)).toMatchObject({ resumed: true })
      expect(await opened({ wrapper: key.wrapper, fingerprintKey: key.fingerprintKey })).toEqual(before)
      expect((await fixture.vault.masterKeyState()).rotations[0]).toMatchObject({
        sealedAnew: Object.keys(before).length,
        finishedAt: expect.any(Date) as Date,
      })
    },
  )

  it('is left alone while another process is at it', async () => {
    await fill()
    const key = turning(newKey(), fixture.key)
    await dieAfter(1, key, 'is silent')
    await fixture.database.pool.query(
      `update master_key_rotations set runner_until = clock_timestamp() + interval '1 hour'`,
    )
    await expect(fixture.node({ key }).rotateMasterKey(REQUEST)).rejects.toMatchObject({
      code: 'rotation_under_way',
      message: expect.stringContaining(`pid ${process.pid}`) as string,
    })
    await fixture.database.pool.query('update master_key_rotations set runner_until = clock_timestamp()')
    await fixture.node({ key }).rotateMasterKey(REQUEST)
  })
})

describe('refused before anything is written', () => {
  const former = newKey()
  it.each<[string, string, () => MasterKey]>([
    ['without a former key', 'previous_key_missing', () => newKey()],
    ['with the same key twice', 'master_keys_same', () => turning(fixture.key, fixture.key)],
    ['with a former key that sealed nothing here', 'previous_key_wrong', () => turning(newKey(), newKey())],
    [
      'with the present key as the new one of another',
      'previous_key_wrong',
      () => turning(fixture.key, former),
    ],
  ])('%s', async (_, code, keyOf) => {
    await fill()
    if (code === 'previous_key_wrong') await expectSomethingElse()
    const before = await everything()
    await expect(fixture.node({ key: keyOf() }).rotateMasterKey(REQUEST)).rejects.toMatchObject({
      name: 'UsageError',
      code,
      message: expect.stringMatching(/TRESTLE_MASTER_KEY/) as string,
    })
    expect(await everything()).toBe(before)
  })

  /** One value under a third key, as where a rotation to it was begun. */
  async function expectSomethingElse(): Promise<void> {
    const third = newKey()
    await fixture.database.pool.query(`update master_key set sealing = $1`, [third.wrapper.id])
  }

  it('with the two keys taken for each other after a rotation', async () => {
    await fill()
    const next = newKey()
    await fixture.node({ key: turning(next, fixture.key) }).rotateMasterKey(REQUEST)
    const before = await everything()
    await expect(
      fixture.node({ key: turning(fixture.key, next) }).rotateMasterKey(REQUEST),
    ).rejects.toMatchObject({ code: 'master_key_used_before' })
    expect(await everything()).toBe(before)
  })

  it('in the middle of another one, to a third key', async () => {
    await fill()
    const key = turning(newKey(), fixture.key)
    await dieAfter(1, key)
    const before = await everything()
    for (const other of [turning(newKey(), fixture.key), turning(newKey(), key)])
      await expect(fixture.node({ key: other }).rotateMasterKey(REQUEST)).rejects.toMatchObject({
        code: 'previous_key_wrong',
      })
    expect(await everything()).toBe(before)
  })
})

it('a value that was altered is named and left as it is, and all others are turned', async () => {
  await fill()
  const { pool } = fixture.database
  const { rows } = await pool.query<{ sealed: Buffer }>(`select sealed from secrets where field = 'token'`)
  const altered = Buffer.from(rows[0]!.sealed)
  altered[altered.length - 1]! ^= 1
  await pool.query(`update secrets set sealed = $1 where field = 'token'`, [altered])
  const key = turning(newKey(), fixture.key)
  await expect(fixture.node({ key }).rotateMasterKey(REQUEST)).rejects.toMatchObject({
    code: 'secrets_unreadable',
    message: expect.stringMatching(/1 sealed values.*secrets default\/con_\w+\/token/) as string,
  })
  expect((await pool.query(`select sealed from secrets where field = 'token'`)).rows).toEqual([
    { sealed: altered },
  ])
  await pool.query(`update secrets set sealed = $1 where field = 'token'`, [rows[0]!.sealed])
  expect(await fixture.node({ key }).rotateMasterKey(REQUEST)).toMatchObject({ resumed: true })
  expect(await namesOfKeys()).toEqual([key.wrapper.id])
})

it('more values than one batch are turned, each once', async () => {
  await fill()
  const { id } = await fixture.vault.loadConnection('default', 'pay')
  const count = BATCH * 2 + 1
  const fields = Array.from({ length: count }, (_, i) => `webhookSecret.${i + 1}`)
  const sealed = await Promise.all(
    fields.map((field) =>
      seal(fixture.key.wrapper, { tenant: 'default', record: id, field }, Buffer.from(field), systemRandom),
    ),
  )
  await fixture.database.pool.query(
    `insert into secrets (tenant, connection_id, field, sealed, fingerprint)
     select 'default', $1, f, s, ''::bytea from unnest($2::text[], $3::bytea[]) as t(f, s)`,
    [id, fields, sealed],
  )
  const before = await opened(fixture.key)
  const key = turning(newKey(), fixture.key)
  expect(await fixture.node({ key }).rotateMasterKey(REQUEST)).toMatchObject({
    sealedAnew: Object.keys(before).length,
  })
  expect(await opened(key)).toEqual(before)
})

/** The fixture's storage, with something done before each statement outside a transaction. */
function storageWith(before: (statement: string) => Promise<void>): VaultStorage {
  const { pool } = fixture.database
  const query = async (statement: unknown, values?: unknown[]): Promise<never> => {
    await before(String(statement))
    return (await pool.query(statement as string, values)) as never
  }
  return { ...fixture.storage, reader: { query } as Queryable }
}

/** A rotation whose process ends at its `writes`th write: `clean` gives back its lease, as only an orderly end does. */
async function dieAfter(writes: number, key: MasterKey, how: 'clean' | 'is silent' = 'clean'): Promise<void> {
  let written = 0
  let dead = false
  const storage = storageWith((statement) => {
    const isWrite = statement.includes('unnest')
    if (isWrite && ++written >= writes) dead = true
    return dead && (isWrite || how === 'is silent') ? Promise.reject(new Error('killed')) : Promise.resolve()
  })
  await expect(fixture.node({ key, storage }).rotateMasterKey(REQUEST)).rejects.toThrow('killed')
}

/** Until a statement that begins like this waits for a lock. */
async function untilWaiting(statement: string): Promise<void> {
  for (;;) {
    const { rows } = await fixture.database.pool.query(
      `select 1 from pg_stat_activity where wait_event_type = 'Lock' and query like $1 || '%' and datname = current_database()`,
      [statement],
    )
    if (rows.length > 0) return
  }
}
