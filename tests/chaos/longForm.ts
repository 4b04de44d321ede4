import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { reasonOf, systemRandom, UsageError } from '../../src/base/index.ts'
import { startPostgres } from '../crash/world.ts'
import { runChaos, type ChaosReport } from './chaos.ts'

const USAGE = `npm run test:chaos -- [options]

  --seconds N   how long one of four nodes is killed every few seconds (120)
  --rate N      deliveries a second (100)
  --postgres N  times that PostgreSQL is killed or restarted meanwhile (2)
  --seed TEXT   the same load and the same victims again
  --keep        keep the ledgers and the nodes' logs
  --json        the report as one line of JSON on stdout, last`

interface Options {
  readonly seconds: number
  readonly rate: number
  readonly postgres: number
  readonly seed: string
  readonly keep: boolean
  readonly json: boolean
}

/** Exit codes: 0 nothing was lost, doubled or late; 1 something was; 2 it could not be run as asked. */
async function main(args: readonly string[]): Promise<number> {
  if (args.includes('--help')) {
    process.stdout.write(`${USAGE}\n`)
    return 0
  }
  let options: Options
  try {
    options = readOptions(args)
  } catch (error) {
    process.stderr.write(`${reasonOf(error)}\n\n${USAGE}\n`)
    return 2
  }
  const folder = await mkdtemp(join(tmpdir(), 'trestle-chaos-long-'))
  const postgres = await startPostgres(folder)
  const watch = postgres.watch()
  const say = (line: string): void => void process.stderr.write(`${line}\n`)
  try {
    say(`Seed ${options.seed}: four nodes, ${options.seconds} s.`)
    const chaos = await runChaos({
      ...options,
      postgresRestarts: options.postgres,
      postgres,
      entries: fileURLToPath(new URL('../crash/', import.meta.url)),
      keepFolder: options.keep,
      onProgress: say,
    })
    process.stdout.write(tableOf(chaos))
    if (options.json) process.stdout.write(`${JSON.stringify({ chaos })}\n`)
    return isClean(chaos) ? 0 : 1
  } finally {
    await watch.stop()
    await postgres.stop()
    await rm(folder, { recursive: true, force: true })
  }
}

function isClean({ violations, late, withoutRetryAfter }: ChaosReport): boolean {
  return violations.length === 0 && late.length === 0 && withoutRetryAfter === 0
}

function readOptions(args: readonly string[]): Options {
  const text = { type: 'string' } as const
  const flag = { type: 'boolean' } as const
  const { values } = parseArgs({
    args: [...args],
    options: { seconds: text, rate: text, postgres: text, seed: text, keep: flag, json: flag },
  })
  return {
    seconds: numberOf('seconds', values.seconds, 120),
    rate: numberOf('rate', values.rate, 100),
    postgres: numberOf('postgres', values.postgres, 2),
    seed: values.seed ?? systemRandom.bytes(4).toString('hex'),
    keep: values.keep === true,
    json: values.json === true,
  }
}

function numberOf(name: string, text: string | undefined, otherwise: number): number {
  if (text === undefined) return otherwise
  const value = Number(text)
  if (Number.isSafeInteger(value) && value >= 0) return value
  throw new UsageError('option_invalid', `--${name} must be a whole number, not "${text}".`)
}

function tableOf(report: ChaosReport): string {
  const { rescueMs, violations, late } = report
  const rows: readonly (readonly [string, string | number])[] = [
    ['seed', report.seed],
    ['seconds', report.seconds],
    ['nodes killed', report.kills],
    ['nodes that stood still', report.zombies],
    ['restarts of PostgreSQL', report.postgresRestarts],
    ['deliveries', report.deliveries],
    ['acknowledged', `${report.acknowledged} (${report.perSecond} a second)`],
    ['effects', report.effects],
    ['lost', report.lost],
    ['doubled', report.doubled],
    ['other violations', violations.length - report.lost - report.doubled],
    ['503 without Retry-After', report.withoutRetryAfter],
    ['held for a person', report.heldForPeople],
    ['runs of a dead node go on', `p50 ${rescueMs.p50} ms, max ${rescueMs.max} ms (${rescueMs.n})`],
    ['longest without a 2xx', `${report.longestSilenceMs} ms`],
    ...(report.folder === undefined ? [] : [['kept in', report.folder] as const]),
  ]
  const width = Math.max(...rows.map(([name]) => name.length))
  return [
    '\nchaos',
    ...rows.map(([name, value]) => `  ${name.padEnd(width)}  ${value}`),
    ...violations.slice(0, 50).map(({ as, point, what }) => `  ${as} at ${point}: ${what}`),
    ...late.map((line) => `  late: ${line}`),
    ...(isClean(report) ? [] : ['  FAILED']),
    '',
  ].join('\n')
}

process.exitCode = await main(process.argv.slice(2))
