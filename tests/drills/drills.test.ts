import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import type { EmbeddedPostgres } from '../../src/db/embedded/index.ts'
import { compileEntries } from '../crash/build.ts'
import type { Sabotage } from '../crash/sabotage.ts'
import { startPostgres } from '../crash/world.ts'
import { DRILLS } from './all.ts'
import type { DrillReport } from './drill.ts'

/** The short form of those that need neither root nor many deaths. All of them, and longer: `npm run test:drills`. */
const LIMIT_MS = 15 * 60_000
const SHORT: readonly (readonly [number: string, seconds: number])[] = [
  ['4', 6],
  ['7', 4],
  ['9', 5],
  ['11', 4],
  ['12', 1],
]

let folder: string
let postgres: EmbeddedPostgres
let compiled: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'trestle-drills-short-'))
  compiled = join(await compileEntries(), '..')
  postgres = await startPostgres(folder, { max_connections: '400' })
  postgres.watch()
})
afterAll(async () => {
  await postgres.stop()
  await rm(folder, { recursive: true, force: true })
})

async function run(number: string, seconds: number, sabotage?: Sabotage): Promise<DrillReport> {
  const drill = DRILLS.find((known) => known.number === number)!
  const own = await mkdtemp(join(folder, `${number}-`))
  return drill.run({
    seconds,
    seed: 'short',
    folder: own,
    postgres,
    compiled,
    onProgress: () => {},
    ...(sabotage && { sabotage }),
  })
}

// They wait more than they work, so they run at the same time, each on a database of its own.
it.concurrent.each(SHORT)(
  'drill %s keeps its promises',
  async (number, seconds) => {
    const report = await run(number, seconds)
    expect(report.broken).toEqual([])
    expect(report.acknowledged).toBeGreaterThan(0)
    expect([report.lost, report.twice]).toEqual([0, 0])
  },
  LIMIT_MS,
)

/**
 * How much memory an answer without bounds takes shows where the machine has time to unpack 300 MB before the call's
 * time-out, which it has not beside ten other drills. The long form asks for it.
 */
const LONG_FORM_ONLY: ReadonlySet<string> = new Set(['reads_without_bounds'])

const CONTROLS = SHORT.flatMap(([number, seconds]) =>
  DRILLS.find((drill) => drill.number === number)!
    .controls.filter(({ sabotage }) => !LONG_FORM_ONLY.has(sabotage))
    .map(({ sabotage }) => [number, sabotage, seconds] as const),
)
it.concurrent.each(CONTROLS)(
  'drill %s notices a build that %s',
  async (number, sabotage, seconds) => {
    const control = DRILLS.find((drill) => drill.number === number)!.controls.find(
      (known) => known.sabotage === sabotage,
    )!
    // A broken build shows itself where the fault meets something under way, which takes luck on a busy machine.
    let noticed = false
    for (let time = 0; !noticed && time < 3; time++)
      noticed = control.notices(await run(number, seconds, sabotage))
    expect(noticed).toBe(true)
  },
  LIMIT_MS,
)
