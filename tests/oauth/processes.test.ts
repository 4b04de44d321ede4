import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { beforeAll, expect, it } from 'vitest'
import { MINUTE, SECOND } from '../../src/base/index.ts'
import { compileEntries } from '../crash/build.ts'
import { createTestDatabase } from '../support/database.ts'
import { runCampaign, type CampaignOptions, type CampaignReport } from './campaign.ts'
import { SHORT_SIZED } from './sizes.ts'

/**
 * The short form of `npm run test:oauth`: four processes, 200 callers, a token endpoint that is slow at times, and
 * processes that are killed.
 */
let compiled: string
/** Twelve processes come up at once, on a machine that may be busy. */
const LIMIT_MS = 15 * 60_000
beforeAll(async () => {
  compiled = join(await compileEntries(), '..')
})

async function campaign(over: Partial<CampaignOptions> = {}): Promise<CampaignReport> {
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
      expiries: 16,
      limitMs: 5 * MINUTE,
      ...SHORT_SIZED,
      onProgress: () => {},
      ...over,
    })
  } finally {
    await database.drop()
    await rm(folder, { recursive: true, force: true })
  }
}

const FEW: Partial<CampaignOptions> = {
  connections: 2,
  idle: 0,
  callers: 40,
  killAtRandomMs: 60 * SECOND,
  // A turn that ends soon: who has died is followed sooner, and what must be noticed comes more often.
  timing: { askWithinMs: 3 * SECOND, answerWithinMs: 8 * SECOND },
  limitMs: 10 * MINUTE,
}

// They wait more than they work, so they run at the same time, each on a database of its own.
it.concurrent(
  'no grant dies of processes that are killed, unless its answer was lost, and that is told',
  async () => {
    const report = await campaign()
    expect(report.broken).toEqual([])
    expect(report.expiries).toBeGreaterThanOrEqual(16)
    // Which places they come to is a matter of time here; the long form comes to all of them.
    expect(Object.keys(report.kills)).not.toEqual([])
    expect(report.toldMs.length).toBe(report.lost)
  },
  LIMIT_MS,
)

it.concurrent(
  'CONTROL: that nobody has a turn of its own is noticed',
  async () => {
    const { askedTooOften } = await campaign({ ...FEW, sabotage: 'refreshes_out_of_turn' })
    expect(askedTooOften.join()).toContain('asked again while the first lived')
  },
  LIMIT_MS,
)

it.concurrent(
  'CONTROL: that an answer is read before it is committed is noticed',
  async () => {
    const { askedTooOften } = await campaign({
      ...FEW,
      killEvery: 2,
      killAt: ['refresh.kept'],
      sabotage: 'reads_before_keeping',
    })
    expect(askedTooOften.join()).toContain('asked again although the answer was committed')
  },
  LIMIT_MS,
)
