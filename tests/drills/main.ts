import { mkdir, mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { reasonOf, systemRandom, UsageError } from '../../src/base/index.ts'
import { stopEmbeddedPostgres } from '../../src/db/embedded/index.ts'
import { unmount } from '../crash/powerRig.ts'
import { startPostgres } from '../crash/world.ts'
import { DRILLS } from './all.ts'
import type { Drill, DrillOptions, DrillReport } from './drill.ts'

const USAGE = `npm run test:drills -- [drills] [options]

  drills         their numbers; all of them without (${DRILLS.map(({ number }) => number).join(' ')})
  --seconds N    how long each fault goes on, about (20)
  --seed TEXT    the same loads and faults again
  --control      the builds without a protection alone, which must be noticed
  --no-controls  without these
  --keep         keep the ledgers and the nodes' logs
  --json         the reports as one line of JSON on stdout, last`

interface Options {
  readonly drills: readonly Drill[]
  readonly seconds: number
  readonly seed: string
  readonly parts: readonly ('drill' | 'controls')[]
  readonly keep: boolean
  readonly json: boolean
}

interface Row {
  readonly drill: string
  readonly title: string
  /** The protection that was taken away; the drill as it is without one. */
  readonly control?: string
  /** Why it was not run. */
  readonly skipped?: string
  readonly kept: boolean
  readonly report?: DrillReport
}

/** Exit codes: 0 every promise was kept and every loss noticed; 1 not so; 2 it could not be run as asked. */
async function main(args: readonly string[]): Promise<number> {
  if (args.includes('--help')) {
    process.stdout.write(`${USAGE}\n`)
    return 0
  }
  let options: Options
  try {
    options = readOptions(args)
  } catch (error) {
    say(`${reasonOf(error)}\n\n${USAGE}`)
    return 2
  }
  const folder = await mkdtemp(join(tmpdir(), 'trestle-drills-'))
  const postgres = await startPostgres(folder, { max_connections: '400' })
  const watch = postgres.watch()
  endOnSignal(async () => {
    await watch.stop()
    await postgres.stop()
    await freeDisksIn(folder)
    await rm(folder, { recursive: true, force: true, maxRetries: 20, retryDelay: 200 })
  })
  const rows: Row[] = []
  /** Said at once: who stops the others early has this one. */
  const add = (row: Row): void => {
    rows.push(row)
    process.stdout.write(`${textOf(row)}\n`)
  }
  try {
    for (const drill of options.drills) {
      const { number, title } = drill
      const tried = join(folder, `${number}-try`)
      await mkdir(tried)
      const skipped = await drill.whyNot?.(tried)
      if (skipped !== undefined) {
        say(`Drill ${number} is skipped: ${skipped}.`)
        add({ drill: number, title, skipped, kept: true })
        continue
      }
      const run = async (name: string, over: Partial<DrillOptions>): Promise<DrillReport> => {
        const own = join(folder, `${number}-${name}`)
        await mkdir(own)
        say(`Drill ${number}, ${name}: ${title}.`)
        const { seconds, seed } = options
        const onProgress = (line: string): void => say(`  ${line}`)
        return drill.run({ seconds, seed, folder: own, postgres, compiled: COMPILED, onProgress, ...over })
      }
      if (options.parts.includes('drill')) {
        const report = await run('as it is', {})
        add({ drill: number, title, kept: isKept(report), report })
      }
      if (!options.parts.includes('controls')) continue
      for (const { sabotage, notices } of drill.controls) {
        const report = await run(sabotage, { sabotage })
        add({ drill: number, title, control: sabotage, kept: notices(report), report })
      }
    }
  } finally {
    await watch.stop()
    await postgres.stop()
    if (!options.keep) await rm(folder, { recursive: true, force: true })
  }
  if (options.keep) say(`Kept in ${folder}.`)
  if (options.json) process.stdout.write(`${JSON.stringify({ seed: options.seed, drills: rows })}\n`)
  return rows.every(({ kept }) => kept) ? 0 : 1
}

/** Ctrl-C ends the drill in the middle, and leaves no server, no mount and no folder behind. Nodes end with their parent. */
function endOnSignal(clean: () => Promise<void>): void {
  for (const signal of ['SIGINT', 'SIGTERM'] as const)
    process.once(signal, () => {
      stopped.yes = true
      say('Stopping.')
      void clean()
        .catch((error: unknown) => say(reasonOf(error)))
        .finally(() => process.exit(130))
    })
}

/** Disks that a drill has mounted below this folder, and the server on each. */
async function freeDisksIn(folder: string): Promise<void> {
  const mounts = await readFile('/proc/mounts', 'utf8').catch(() => '')
  for (const line of mounts.split('\n')) {
    const at = line.split(' ')[1] ?? ''
    if (!at.startsWith(`${folder}/`)) continue
    await stopEmbeddedPostgres(join(at, 'postgres'))
    await unmount(at)
  }
}

const COMPILED = fileURLToPath(new URL('..', import.meta.url))

function isKept({ broken, late }: DrillReport): boolean {
  return broken.length === 0 && late.length === 0
}

function readOptions(args: readonly string[]): Options {
  const { values, positionals } = parseArgs({
    args: [...args],
    allowPositionals: true,
    options: {
      seconds: { type: 'string' },
      seed: { type: 'string' },
      control: { type: 'boolean' },
      'no-controls': { type: 'boolean' },
      keep: { type: 'boolean' },
      json: { type: 'boolean' },
    },
  })
  const seconds = Number(values.seconds ?? '20')
  if (!Number.isSafeInteger(seconds) || seconds < 1)
    throw new UsageError(
      'option_invalid',
      `--seconds must be a whole number from 1, not "${values.seconds}".`,
    )
  return {
    drills: positionals.length === 0 ? DRILLS : positionals.map(drillNumbered),
    seconds,
    seed: (values.seed ?? systemRandom.bytes(4).toString('hex')).replaceAll(/[^A-Za-z0-9]/g, '-'),
    parts: values.control ? ['controls'] : values['no-controls'] ? ['drill'] : ['drill', 'controls'],
    keep: values.keep === true,
    json: values.json === true,
  }
}

function drillNumbered(number: string): Drill {
  const drill = DRILLS.find((known) => known.number === number)
  if (drill) return drill
  throw new UsageError('drill_unknown', `There is no drill "${number}" here.`)
}

function say(line: string): void {
  process.stderr.write(`${line}\n`)
}

function textOf({ drill, title, control, skipped, kept, report }: Row): string {
  const name = control === undefined ? `Drill ${drill}: ${title}` : `Drill ${drill}, control: ${control}`
  if (report === undefined) return `${name}\n  skipped: ${skipped}\n`
  const rows: readonly (readonly [string, string | number])[] = [
    ['scale', report.scale],
    ['n', report.n],
    ['acknowledged', report.acknowledged],
    ['lost', report.lost],
    ['of these, not in the database', report.gone],
    ['twice', report.twice],
    ['held for a person', report.held],
    ['recovered', report.recoveredMs === undefined ? '–' : `${report.recoveredMs} ms`],
    ['told after', report.alertedMs === undefined ? '–' : `${report.alertedMs} ms`],
    [
      'answers',
      Object.entries(report.answers)
        .map(([status, count]) => `${status}: ${count}`)
        .join(', '),
    ],
    ...Object.entries(report.figures),
  ]
  const width = Math.max(...rows.map(([label]) => label.length))
  const found = [...report.broken, ...report.late.map((line) => `late: ${line}`)]
  const verdict = control === undefined ? (kept ? 'kept' : 'BROKEN') : kept ? 'noticed' : 'NOT NOTICED'
  return [
    `${name}: ${verdict}`,
    ...rows.map(([label, value]) => `  ${label.padEnd(width)}  ${value}`),
    ...found.slice(0, control === undefined ? 20 : 3).map((line) => `  ! ${line}`),
    '',
  ].join('\n')
}

/** What fails after it was told to stop fails because of that. */
const stopped = { yes: false }
process.exitCode = await main(process.argv.slice(2)).catch((error: unknown) => {
  if (!stopped.yes) throw error
  return 130
})
