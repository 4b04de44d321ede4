import { mkdtemp, mkdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import type { EmbeddedPostgres } from '../../src/db/embedded/index.ts'
import { compileEntries } from '../crash/build.ts'
import { startPostgres } from '../crash/world.ts'
import { restartAll, type RollingReport } from './rolling.ts'

const LIMIT_MS = 10 * 60_000

let folder: string
let postgres: EmbeddedPostgres
let entries: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'trestle-rolling-'))
  entries = await compileEntries()
  postgres = await startPostgres(folder, { max_connections: '300' })
})
afterAll(async () => {
  await postgres.stop()
  await rm(folder, { recursive: true, force: true })
})

async function rolling(name: string, rudely: boolean): Promise<RollingReport> {
  const own = join(folder, name)
  await mkdir(own)
  return restartAll({ seed: name, folder: own, entries, postgres, rate: 20, rudely })
}

it(
  'four nodes are restarted with a new version one after another, and neither senders nor the provider notice',
  async () => {
    const report = await rolling('politely', false)
    expect(report).toMatchObject({
      seen: [],
      troubles: [],
      violations: [],
      exits: [0, 0, 0, 0],
      leftBehind: 0,
      doubts: 0,
    })
    expect(report.deliveries).toBeGreaterThan(100)
    expect(report.finishedByNew).toBeGreaterThan(20)
  },
  LIMIT_MS,
)

it(
  'the check notices: nodes that are killed instead are seen by senders',
  async () => {
    const report = await rolling('rudely', true)
    expect(report.violations).toEqual([])
    expect(report.seen.length).toBeGreaterThan(0)
  },
  LIMIT_MS,
)
