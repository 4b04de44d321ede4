import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { reasonOf, SECOND, systemRandom, UsageError } from '../../src/base/index.ts'
import { runCampaign, type Report } from './campaign.ts'
import {
  choosePoints,
  choosePowerCuts,
  parsePoint,
  pointName,
  tracesNodes,
  tracesServer,
  type Point,
} from './points.ts'
import { openPowerRig, whyNoPowerRig } from './powerRig.ts'
import { whyNoServerTrace, whyNoTrace } from './processes.ts'
import { startPostgres } from './world.ts'

const USAGE = `npm run test:crash -- [options]

  --points N      crash points (300)
  --deliveries N  deliveries to acknowledge at least (100000)
  --cuts N        power cuts beyond these (20); they need root
  --seed TEXT     the same points and loads again
  --only POINTS   these points alone, such as write:37,runs.claimed:2 or power:900ms
  --keep          keep the ledgers and the nodes' logs
  --json          the reports as one line of JSON on stdout, last`

interface Options {
  readonly seed: string
  readonly points: readonly Point[]
  readonly cuts: readonly Point[]
  readonly deliveries: number
  readonly keep: boolean
  readonly json: boolean
}

/** Exit codes: 0 all points fired and nothing was violated; 1 something was; 2 it could not be run as asked. */
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
  const { points, cuts } = options
  const whyNot = points.some(tracesNodes) ? whyNoTrace() : undefined
  const whyNoServer = points.some(tracesServer) ? whyNoServerTrace() : undefined
  if (whyNot !== undefined || whyNoServer !== undefined) {
    process.stderr.write(`${whyNot ?? whyNoServer}, or leave those points out with --only.\n`)
    return 2
  }
  process.stderr.write(`Seed ${options.seed}: ${points.length} crash points, ${cuts.length} power cuts.\n`)
  const folder = await mkdtemp(join(tmpdir(), 'trestle-crash-long-'))
  const reports: Named[] = []
  try {
    if (points.length > 0) reports.push({ name: 'crashes', ...(await strikePoints(options, folder)) })
    if (cuts.length > 0) reports.push(...(await cutPower(options, folder)))
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
  for (const report of reports) process.stdout.write(tableOf(report))
  if (options.json)
    process.stdout.write(
      `${JSON.stringify(Object.fromEntries(reports.map(({ name, ...report }) => [name, report])))}\n`,
    )
  return reports.every(isClean) ? 0 : 1
}

type Named = Report & {
  readonly name: string
  /** A protection was taken away: it is clean only if that was noticed. */
  readonly isControl?: boolean
}

function isClean({ isControl, violations, notFired, late }: Named): boolean {
  if (isControl) return violations.some(({ as }) => as === 'lost')
  return violations.length === 0 && notFired.length === 0 && late.length === 0
}

function readOptions(args: readonly string[]): Options {
  const { values } = parseArgs({
    args: [...args],
    options: {
      points: { type: 'string' },
      deliveries: { type: 'string' },
      cuts: { type: 'string' },
      seed: { type: 'string' },
      only: { type: 'string' },
      keep: { type: 'boolean' },
      json: { type: 'boolean' },
    },
  })
  const seed = values.seed ?? systemRandom.bytes(4).toString('hex')
  const only = values.only?.split(',').map(parsePoint)
  return {
    seed,
    points: only
      ? only.filter(({ kind }) => kind !== 'power_after')
      : choosePoints(numberOf('points', values.points, 300), seed),
    cuts: only
      ? only.filter(({ kind }) => kind === 'power_after')
      : choosePowerCuts(numberOf('cuts', values.cuts, 20), seed),
    deliveries: numberOf('deliveries', values.deliveries, only ? only.length * 300 : 100_000),
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

const ENTRIES = fileURLToPath(new URL('.', import.meta.url))
/** A power cut loses nothing more with more deliveries: what counts is what is under way. */
const DELIVERIES_PER_CUT = 300

async function strikePoints(options: Options, folder: string): Promise<Report> {
  const postgres = await startPostgres(folder)
  const watch = postgres.watch()
  try {
    return await runCampaign({
      points: options.points,
      seed: options.seed,
      deliveries: options.deliveries,
      postgres,
      entries: ENTRIES,
      keepFolder: options.keep,
      onStruck: progressOf(options.points, 'points'),
    })
  } finally {
    await watch.stop()
    await postgres.stop()
  }
}

/** The cuts, and the control: with commits that are not synced, the same cut must lose something. */
async function cutPower(options: Options, folder: string): Promise<Named[]> {
  const why = await whyNoPowerRig(folder)
  if (why !== undefined) {
    process.stderr.write(`Power cuts are skipped: ${why}.\n`)
    return []
  }
  const cuts = await cutAt(options, options.cuts, join(folder, 'power'), {})
  const control = await cutAt(
    options,
    options.cuts.slice(0, CONTROL_CUTS),
    join(folder, 'control'),
    NOT_SYNCED,
  )
  return [
    { name: 'power cuts', ...cuts },
    {
      name: 'control: power cuts where commits are not synced, which must lose',
      ...control,
      isControl: true,
    },
  ]
}

const CONTROL_CUTS = 3
/** Commits reach the disk up to three times this later, as PostgreSQL has it where speed is all that counts. */
const NOT_SYNCED = { synchronous_commit: 'off', wal_writer_delay: '1000ms' }

async function cutAt(
  options: Options,
  points: readonly Point[],
  folder: string,
  settings: Readonly<Record<string, string>>,
): Promise<Report> {
  const rig = await openPowerRig(folder, settings)
  try {
    return await runCampaign({
      points,
      seed: options.seed,
      deliveries: points.length * DELIVERIES_PER_CUT,
      postgres: rig.postgres,
      cutPower: (andThen) => rig.cut(andThen),
      entries: ENTRIES,
      keepFolder: options.keep,
      settleMs: 30 * SECOND,
      onStruck: progressOf(points, 'power cuts'),
    })
  } finally {
    await rig.close()
  }
}

// --- what is shown ---------------------------------------------------------------------------------------

const BAR = 24

function progressOf(
  points: readonly Point[],
  what: string,
): NonNullable<Parameters<typeof runCampaign>[0]['onStruck']> {
  let wrong = 0
  return (struck, at, acknowledged) => {
    const clear = process.stderr.isTTY ? '\r\u001b[K' : ''
    for (const { as, what } of struck.violations)
      process.stderr.write(`${clear}${struck.point}: ${as}: ${what}\n`)
    if (!struck.fired) process.stderr.write(`${clear}${struck.point}: did not fire: ${struck.evidence}\n`)
    wrong += struck.violations.length + (struck.fired ? 0 : 1)
    const done = at + 1
    const filled = Math.round((BAR * done) / points.length)
    const bar = '#'.repeat(filled).padEnd(BAR, '.')
    const line = `[${bar}] ${done} of ${points.length} ${what}, ${acknowledged} acknowledged, ${wrong} wrong, last ${pointName(points[at]!)}`
    if (process.stderr.isTTY) process.stderr.write(`${clear}${line}${done === points.length ? '\n' : ''}`)
    else if (done % 10 === 0 || done === points.length) process.stderr.write(`${line}\n`)
  }
}

function tableOf(report: Named): string {
  const { rescueMs, servingMs, effectMs, violations, notFired, late } = report
  const count = (as: string): number => violations.filter((violation) => violation.as === as).length
  const rows: readonly (readonly [string, string | number])[] = [
    ['seed', report.seed],
    ['points that fired', `${report.fired} of ${report.points}`],
    ['deliveries', report.deliveries],
    ['acknowledged', report.acknowledged],
    ['effects', report.effects],
    ['lost', count('lost')],
    ['doubled', count('doubled')],
    ['other violations', violations.length - count('lost') - count('doubled')],
    ['held for a person', report.heldForPeople],
    ['runs of a killed node go on', `p50 ${rescueMs.p50} ms, max ${rescueMs.max} ms (${rescueMs.n})`],
    ['serving again', `p50 ${servingMs.p50} ms, max ${servingMs.max} ms (${servingMs.n})`],
    ['2xx to last effect', `p50 ${effectMs.p50} ms, p99 ${effectMs.p99} ms, max ${effectMs.max} ms`],
    ['seconds', report.seconds],
    ...(report.folder === undefined ? [] : [['kept in', report.folder] as const]),
  ]
  const width = Math.max(...rows.map(([name]) => name.length))
  const replay = (point: string): string =>
    point === '' ? '' : `   replay: npm run test:crash -- --seed ${report.seed} --only ${point}`
  return [
    `\n${report.name}`,
    ...rows.map(([name, value]) => `  ${name.padEnd(width)}  ${value}`),
    ...(report.isControl ? [] : violations)
      .slice(0, 50)
      .map(({ as, point, what }) => `  ${as} at ${point}: ${what}${replay(point)}`),
    ...notFired.map(({ point, evidence }) => `  did not fire: ${point}: ${evidence}`),
    ...late.map((line) => `  late: ${line}`),
    ...(isClean(report) ? [] : [report.isControl ? '  NOT NOTICED: nothing was lost' : '  FAILED']),
    '',
  ].join('\n')
}

process.exitCode = await main(process.argv.slice(2))
