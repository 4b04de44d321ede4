import { resolve } from 'node:path'
import { startEmbeddedPostgres, type EmbeddedPostgres } from '../db/index.ts'

/** Where the data is, and how to let go of it. */
export interface FoundDatabase {
  readonly url: string
  /** The server that Trestle brought itself; `undefined` where DATABASE_URL names one. */
  readonly embedded: EmbeddedPostgres | undefined
  /** Lets go; the embedded server ends when nobody else uses it. */
  release(): Promise<void>
}

/** Where the embedded PostgreSQL of a project keeps its data. */
export function embeddedFolder(folder: string): string {
  return resolve(folder, '.trestle', 'postgres')
}

/** The database of DATABASE_URL, else the embedded PostgreSQL with its data in `.trestle/postgres`. */
export async function findDatabase(
  folder: string,
  environment: Readonly<Record<string, string | undefined>>,
  onNotice?: (line: string) => void,
): Promise<FoundDatabase> {
  const url = environment['DATABASE_URL']
  if (url !== undefined && url !== '') return { url, embedded: undefined, release: () => Promise.resolve() }
  const embedded = await startEmbeddedPostgres({
    dataDir: embeddedFolder(folder),
    ...(onNotice && { onNotice }),
  })
  return { url: embedded.url, embedded, release: () => embedded.stop() }
}
