import { resolve } from 'node:path'
import { reasonOf, systemClock, systemRandom, UsageError, type Clock } from '../base/index.ts'
import {
  findDatabase,
  loadConfig,
  openInstallation,
  TENANT,
  type FoundDatabase,
  type Installation,
  type LoadedConfig,
} from '../runtime/index.ts'

/** An installation that is open for one command, or as long as a server runs. */
export interface Session {
  readonly loaded: LoadedConfig
  readonly database: FoundDatabase
  readonly installation: Installation
  /** Whose data the command line works on. */
  readonly tenant: string
  readonly clock: Clock
  /** Work that is done first when it closes, also at Ctrl-C. A fault of it keeps nothing from closing. */
  beforeClose(work: () => Promise<void>): void
  close(): Promise<void>
}

export interface SessionOptions {
  readonly folder: string
  readonly config?: string | undefined
  /** Most database connections. Default 3: one command needs few. */
  readonly connections?: number
  readonly onNotice?: (line: string) => void
  readonly onFault?: (what: string, error: unknown) => void
}

/** Reads the configuration, finds the database and opens the installation. Undoes what it began where that fails. */
export async function openSession(options: SessionOptions): Promise<Session> {
  const loaded = await loadConfig(resolve(options.folder), options.config)
  const database = await findDatabase(loaded.folder, process.env, options.onNotice)
  const clock = systemClock
  const first: (() => Promise<void>)[] = []
  try {
    const installation = await openInstallation({
      config: loaded.config,
      folder: loaded.folder,
      databaseUrl: database.url,
      environment: process.env,
      clock,
      random: systemRandom,
      development: false,
      connections: options.connections ?? 3,
      ...(options.onFault && { onFault: options.onFault }),
    })
    return {
      loaded,
      database,
      installation,
      tenant: TENANT,
      clock,
      beforeClose: (work) => void first.push(work),
      async close() {
        await Promise.allSettled(first.splice(0).map((work) => work()))
        await installation.close()
        await database.release()
      },
    }
  } catch (error) {
    await database.release()
    throw explained(error)
  }
}

/** What a newcomer meets first: no key yet. In development there is a shorter way than to make one by hand. */
function explained(error: unknown): unknown {
  if (!(error instanceof UsageError) || error.code !== 'master_key_missing') return error
  return new UsageError(
    error.code,
    `${reasonOf(error)} While developing, run "trestle dev" once instead: it makes a key in .trestle/.`,
    { cause: error },
  )
}
