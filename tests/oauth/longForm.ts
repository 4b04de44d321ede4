import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { reasonOf, SECOND, systemRandom, UsageError } from '../../src/base/index.ts'
import type { Sabotage } from '../crash/sabotage.ts'
import { startPostgres } from '../crash/world.ts'
import { runCampaign, type CampaignReport } from './campaign.ts'
import { lateIn, PRODUCT_SIZED } from './sizes.ts'

/** Those that have to do with refreshes. */
const SABOTAGES = ['refreshes_out_of_turn', 'reads_before_keeping'] as const satisfies readonly Sabotage[]

const USAGE = `npm run test:oauth -- [options]

  --expiries N     grants to renew (200)
  --seconds N      stop after this time, however few they are (900)
  --seed TEXT      the same deaths and slow answers again
  --sabotage NAME  a protection to take away, which must be noticed: ${SABOTAGES.join(', ')}
  --keep           keep the ledgers and the nodes' logs
  --json           the report as one line of JSON on stdout, last`

interface Options {
  readonly expiries: number
  readonly seconds: number
  readonly seed: string
  readonly sabotage?: Sabotage
  readonly keep: boolean
  readonly json: boolean
}

/** Exit codes: 0 no promise was broken, or the sabotage was noticed; 1 not so; 2 it could not be run as asked. */
async function main(args: readonly string[]): Promise<number> {
  let options: Options
  try {
    options = readOptions(args)
  } catch (error) {
    process.stderr.write(`${reasonOf(error)}\n\n${USAGE}\n`)
    return 2
  }
  const { expiries, seconds, seed, sabotage } = options
  const folder = await mkdtemp(join(tmpdir(), 'trestle-oauth-long-'))
  const postgres = await startPostgres(folder, { max_connections: '200' })
  const watch = postgres.watch()
  process.stderr.write(`Seed ${seed}: ${expiries} expiries, four processes, 200 callers.\n`)
  try {
    const report = await runCampaign({
      ...PRODUCT_SIZED,
      databaseUrl: postgres.url,
      folder: join(folder, 'campaign'),
      compiled: fileURLToPath(new URL('../', import.meta.url)),
      seed,
      expiries,
      limitMs: seconds * SECOND,
      onProgress: progressOf(expiries),
      ...(sabotage && { sabotage }),
    })
    const late = lateIn(report)
    process.stdout.write(tableOf(report, late, sabotage))
    if (options.json) process.stdout.write(`${JSON.stringify({ ...report, late })}\n`)
    if (sabotage) return report.broken.length > 0 ? 0 : 1
    return report.broken.length === 0 && late.length === 0 ? 0 : 1
  } finally {
    await watch.stop()
    await postgres.stop()
    if (options.keep) process.stderr.write(`Kept in ${folder}.\n`)
    else await rm(folder, { recursive: true, force: true })
  }
}

function readOptions(args: readonly string[]): Options {
  const text = { type: 'string' } as const
  const flag = { type: 'boolean' } as const
  const { values } = parseArgs({
    args: [...args],
    options: { expiries: text, seconds: text, seed: text, sabotage: text, keep: flag, json: flag },
  })
  const sabotage = SABOTAGES.find((known) => known === values.sabotage)
  if (values.sabotage !== undefined && sabotage === undefined)
    throw new UsageError('option_invalid', `--sabotage must be one of ${SABOTAGES.join(', ')}.`)
  return {
    expiries: numberOf('expiries', values.expiries, 200),
    seconds: numberOf('seconds', values.seconds, 900),
    seed: values.seed ?? systemRandom.bytes(4).toString('hex'),
    ...(sabotage && { sabotage }),
    keep: values.keep === true,
    json: values.json === true,
  }
}

function numberOf(name: string, text: string | undefined, otherwise: number): number {
  const value = Number(text ?? otherwise)
  if (Number.isSafeInteger(value) && value > 0) return value
  throw new UsageError('option_invalid', `--${name} must be a whole number from 1, not "${text}".`)
}

// --- what is shown ---------------------------------------------------------------------------------------

const BAR = 24

function progressOf(all: number): Parameters<typeof runCampaign>[0]['onProgress'] {
  let shown = ''
  return ({ expiries, kills, lost }) => {
    const filled = Math.min(BAR, Math.round((BAR * expiries) / all))
    const bar = '#'.repeat(filled).padEnd(BAR, '.')
    const line = `[${bar}] ${expiries} of ${all} expiries, ${kills} processes killed, ${lost} grants lost with their answer`
    if (line === shown) return
    const isStep = expiries % 20 === 0 || expiries >= all
    shown = line
    if (process.stderr.isTTY) process.stderr.write(`\r\u001b[K${line}${expiries >= all ? '\n' : ''}`)
    else if (isStep) process.stderr.write(`${line}\n`)
  }
}

function tableOf(report: CampaignReport, late: readonly string[], sabotage: Sabotage | undefined): string {
  const listOf = (counts: Readonly<Record<string, number>>): string =>
    Object.entries(counts)
      .map(([name, count]) => `${name} ${count}`)
      .join(', ') || 'none'
  const most = (times: readonly number[]): string =>
    times.length === 0 ? 'none' : `max ${Math.max(...times)} ms (${times.length})`
  const rows: readonly (readonly [string, string | number])[] = [
    ['seed', report.seed],
    ['seconds', report.seconds],
    ['expiries', report.expiries],
    ['questions to the token endpoint', report.questions],
    ['expiries asked for once', report.askedOnce],
    ['asked again, unspent, after a kill', report.askedAgain],
    ['slow answers', report.slowAnswers],
    ['processes', report.nodes],
    ['killed', listOf(report.kills)],
    ['answers lost with their process', report.lost],
    ['told after', most(report.toldMs)],
    ['next good call after', most(report.recoveredMs)],
    ['calls', report.calls],
    ['of these to be made again', listOf(report.refusedCalls)],
    ['longest good call', `${report.longestCallMs} ms`],
    ['promises broken', report.broken.length],
  ]
  const width = Math.max(...rows.map(([name]) => name.length))
  const isNoticed = report.broken.length > 0
  const verdict = sabotage
    ? isNoticed
      ? `${sabotage}: noticed`
      : `${sabotage}: NOT NOTICED`
    : isNoticed || late.length > 0
      ? 'BROKEN'
      : 'kept'
  return [
    `\nrefresh race: ${verdict}`,
    ...rows.map(([name, value]) => `  ${name.padEnd(width)}  ${value}`),
    ...report.broken.slice(0, sabotage ? 3 : 30).map((line) => `  ! ${line}`),
    ...late.map((line) => `  late: ${line}`),
    '',
  ].join('\n')
}

process.exitCode = await main(process.argv.slice(2))
