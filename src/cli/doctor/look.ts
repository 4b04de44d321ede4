import { existsSync } from 'node:fs'
import { resolve } from 'node:path'
import { codeOf, reasonOf, systemRandom } from '../../base/index.ts'
import { missingMigrations, openDatabase, type Database } from '../../db/index.ts'
import {
  findDatabase,
  loadConfig,
  newestCheckpoint,
  openInstallation,
  TENANT,
  type FoundDatabase,
  type LoadedConfig,
} from '../../runtime/index.ts'
import { closingAfter } from '../closingAfter.ts'
import type { CommandContext } from '../command.ts'
import { environmentOf } from '../environment.ts'
import { version } from '../version.ts'
import { lookAtConnections } from './connections.ts'
import { lookAtConservation } from './conservation.ts'
import { databaseAway, lookAtLedger, lookAtNodes, lookAtServer, lookAtWork } from './database.ts'
import { fail, ok, warn, type Finding } from './findings.ts'
import { lookAtFiles } from './files.ts'
import { lookAtDisk, lookAtMasterKey, lookAtVersions } from './machine.ts'

/** Looks at everything that a start needs, and at what waits for people. Changes nothing. */
export async function lookAtInstallation(context: CommandContext): Promise<readonly Finding[]> {
  const findings: Finding[] = [...lookAtVersions(process.version)]
  const loaded = await lookAtConfig(context, findings)
  const environment = environmentOf(context.folder)
  const key = await lookAtMasterKey(context.folder, environment)
  findings.push(key, ...(await lookAtFiles(context.folder)), await lookAtDisk(context.folder))
  await lookAtDatabase({
    context,
    environment,
    findings,
    loaded: key.level === 'fail' ? undefined : loaded,
  })
  return findings
}

async function lookAtConfig(
  { folder, config }: CommandContext,
  findings: Finding[],
): Promise<LoadedConfig | undefined> {
  try {
    const loaded = await loadConfig(folder, config)
    const { connections, flows } = loaded.config
    findings.push(
      ok(
        'Configuration',
        `${loaded.file}: connections ${Object.keys(connections).join(', ') || 'none'}; flows ${flows.map((flow) => flow.name).join(', ') || 'none'}`,
      ),
    )
    return loaded
  } catch (error) {
    findings.push(fail('Configuration', reasonOf(error), 'Mend it, and look again.'))
    return undefined
  }
}

interface DatabaseLook {
  readonly context: CommandContext
  readonly environment: NodeJS.ProcessEnv
  readonly findings: Finding[]
  /** Without it, the connections are not looked at. */
  readonly loaded: LoadedConfig | undefined
}

async function lookAtDatabase(look: DatabaseLook): Promise<void> {
  const { context, environment, findings } = look
  const url = environment['DATABASE_URL']
  const isEmbedded = url === undefined || url === ''
  if (isEmbedded && !existsSync(resolve(context.folder, '.trestle', 'postgres'))) {
    findings.push(
      warn('Database', 'there is none yet', 'The first start makes one: trestle dev. Or set DATABASE_URL.'),
    )
    return
  }
  let found: FoundDatabase
  const said: string[] = []
  try {
    found = await findDatabase(context.folder, environment, (line) => said.push(line))
  } catch (error) {
    findings.push(databaseAway(error, isEmbedded))
    return
  }
  const database = openDatabase({ url: found.url, max: 2, name: 'trestle doctor' })
  let shared = true
  const close = async (): Promise<void> => {
    await database.close()
    said.length = 0
    await found.release()
    shared = said.some((line) => line.startsWith('PostgreSQL keeps running'))
  }
  const ranBefore = said.some((line) => line.startsWith('Using the PostgreSQL'))
  await closingAfter(close, () =>
    lookInside(look, database, isEmbedded ? 'the embedded one' : 'by DATABASE_URL'),
  )
  if (isEmbedded && ranBefore && !shared)
    findings.push(
      ok('Leftovers', 'a PostgreSQL that a killed process had left was stopped; nothing was lost'),
    )
}

async function lookInside(
  { context, environment, findings, loaded }: DatabaseLook,
  database: Database,
  where: string,
): Promise<void> {
  const { clock, folder } = context
  const { pool } = database
  try {
    findings.push(...(await lookAtServer(pool, where, clock)))
    if ((await missingMigrations(pool)).length > 0) return
    findings.push(...(await lookAtNodes(pool, version())))
    findings.push(...(await lookAtWork(pool, clock)))
    findings.push(await lookAtLedger(pool, await newestCheckpoint(folder), clock))
    findings.push(await lookAtConservation(pool, TENANT, clock))
  } catch (error) {
    findings.push(databaseAway(error, environment['DATABASE_URL'] === undefined))
    return
  }
  if (loaded === undefined) return
  const installation = await openInstallation({
    ...loaded,
    databaseUrl: database.url,
    environment,
    clock,
    random: systemRandom,
    development: false,
    connections: 2,
  }).catch((error: unknown) => {
    findings.push(
      fail('Installation', `${reasonOf(error)} (${codeOf(error, 'unknown')})`, 'Mend it, and look again.'),
    )
  })
  if (!installation) return
  findings.push(...(await lookAtConnections(installation)))
  await installation.close()
}
