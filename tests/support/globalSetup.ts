import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestProject } from 'vitest/node'
import { isProcessAlive } from '../../src/db/embedded/processes.ts'
import { stopEmbeddedPostgres } from '../../src/db/embedded/index.ts'

declare module 'vitest' {
  interface ProvidedContext {
    /** Where the PostgreSQL of this run of the tests keeps its data. */
    testDataDir: string
  }
}

const PREFIX = 'trestle-test-'

/**
 * Names the folder for this run's PostgreSQL, and removes it at the end. The server is started by the first test
 * that asks for a database (see database.ts), so that runs without one pay nothing.
 */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  await removeLeftovers()
  const dataDir = await mkdtemp(join(tmpdir(), `${PREFIX}${process.pid}-`))
  project.provide('testDataDir', dataDir)
  return () => remove(dataDir)
}

/** Servers and data of runs that were killed before they could tidy up. */
async function removeLeftovers(): Promise<void> {
  for (const name of await readdir(tmpdir())) {
    const pid = new RegExp(`^${PREFIX}(\\d+)-`).exec(name)?.[1]
    // Another user's leftovers are that user's to remove.
    if (pid !== undefined && !isProcessAlive(Number(pid)))
      await remove(join(tmpdir(), name)).catch(() => undefined)
  }
}

async function remove(dataDir: string): Promise<void> {
  await stopEmbeddedPostgres(dataDir)
  await rm(dataDir, { recursive: true, force: true })
}
