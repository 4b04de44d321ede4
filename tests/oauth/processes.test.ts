import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { beforeAll, expect, it } from 'vitest'
import { SECOND } from '../../src/base/index.ts'
import { compileEntries } from '../crash/build.ts'
import { createTestDatabase } from '../support/database.ts'
import { runCampaign, type CampaignReport } from './campaign.ts'
import type { Sabotage } from './sabotage.ts'

/**
 * The short form of `npm run test:oauth`: four processes, 200 callers, a token endpoint that is slow at times, and
 * processes that are killed, with a lease of 11 s instead of 30.
 */
let compiled: string
beforeAll(async () => {
  compiled = join(await compileEntries(), '..')
})

async function campaign(sabotage?: Sabotage): Promise<CampaignReport> {
  const [database, folder] = await Promise.all([
    createTestDatabase(),
    mkdtemp(join(tmpdir(), 'trestle-oauth-short-')),
  ])
  try {
    return await runCampaign({
      databaseUrl: database.url,
      folder,
      compiled,
      seed: 'short',
      expiries: 20,
      limitMs: 60 * SECOND,
      connections: 8,
      callers: 200,
      lifetime: 6,
      slowMs: 3 * SECOND,
      timing: { askWithinMs: 3 * SECOND, answerWithinMs: 8 * SECOND },
      killEvery: 4,
      killAtRandomMs: 6 * SECOND,
      onProgress: () => {},
      ...(sabotage && { sabotage }),
    })
  } finally {
    await database.drop()
    await rm(folder, { recursive: true, force: true })
  }
}

it('no grant dies of processes that are killed, unless its answer was lost with one, and that is told', async () => {
  const report = await campaign()
  expect(report.broken).toEqual([])
  expect(report.expiries).toBeGreaterThanOrEqual(20)
  expect(Object.keys(report.kills).length).toBeGreaterThanOrEqual(3)
  expect(report.toldMs.length).toBe(report.lost)
})

it.each(['no_lease', 'no_keeping'] as const)('CONTROL: a build with %s is noticed', async (sabotage) => {
  expect((await campaign(sabotage)).broken).not.toEqual([])
})
