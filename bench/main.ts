/**
 *     npm run bench [-- --json] [-- --seconds 10] [-- --rows 10000000] [-- --runs 50000] [-- --case NAME] [NAME…]
 *
 * Each benchmark stands beside its baseline in the same run. No assertion on time. The last line of --json is one
 * object with the names as keys.
 */
import { parseArgs } from 'node:util'
import { budget } from './budget.ts'
import { drain } from './drain.ts'
import { flows } from './flows.ts'
import { growth } from './growth.ts'
import { intake } from './intake.ts'
import { lanes } from './lanes.ts'
import { latency } from './latency.ts'
import { nodes } from './nodes.ts'
import { peers } from './peers.ts'
import { recovery } from './recovery.ts'
import { rotate } from './rotate.ts'

interface Options {
  /** Rows that `growth` fills in, secrets that `rotate` turns; left out: 10,000,000 and 100,000. */
  readonly rows?: number | undefined
  /** Runs that `drain` has wait; left out: 50,000. */
  readonly runs?: number | undefined
  /** The one case of `budget` to play; left out: all. */
  readonly case?: string | undefined
}

const BENCHMARKS: Readonly<
  Record<string, (seconds: number, options: Options) => Promise<Record<string, unknown>>>
> = {
  intake,
  flows,
  budget: (seconds, options) => budget(seconds, options.case),
  lanes,
  drain: (_, options) => drain(options.runs),
  latency,
  peers,
  recovery: (seconds) => recovery(seconds),
  nodes,
  growth,
  rotate,
}

const { values, positionals } = parseArgs({
  options: {
    json: { type: 'boolean' },
    seconds: { type: 'string', default: '10' },
    rows: { type: 'string' },
    runs: { type: 'string' },
    case: { type: 'string' },
    help: { type: 'boolean' },
  },
  allowPositionals: true,
})
if (values.help) {
  process.stdout.write(
    `npm run bench [-- --json] [-- --seconds 10] [-- --rows 10000000] [-- --runs 50000] [-- --case NAME] [NAME…]\nNames: ${Object.keys(BENCHMARKS).join(', ')}. Default: all.\n`,
  )
  process.exit(0)
}
const names = positionals.length > 0 ? positionals : Object.keys(BENCHMARKS)
const unknown = names.filter((name) => !(name in BENCHMARKS))
if (unknown.length > 0) {
  process.stderr.write(
    `There is no benchmark ${unknown.join(', ')}. There are: ${Object.keys(BENCHMARKS).join(', ')}.\n`,
  )
  process.exit(2)
}
const results: Record<string, unknown> = {}
for (const name of names) {
  process.stderr.write(`${name} …\n`)
  results[name] = await BENCHMARKS[name]!(Number(values.seconds), {
    rows: numberOf(values.rows),
    runs: numberOf(values.runs),
    case: values.case,
  })
  process.stderr.write(`${name} ${JSON.stringify(results[name], undefined, 2)}\n`)
}
if (values.json) process.stdout.write(`${JSON.stringify(results)}\n`)
process.exit(0)

function numberOf(value: string | undefined): number | undefined {
  return value === undefined ? undefined : Number(value)
}
