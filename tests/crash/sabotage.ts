import { randomBytes } from 'node:crypto'
import type pg from 'pg'
import { pause, systemClock } from '../../src/base/index.ts'
import {
  createEgress,
  type Answered,
  type Egress,
  type EgressRequest,
  type EgressResult,
} from '../../src/egress/index.ts'
import type { Installation } from '../../src/runtime/index.ts'

/**
 * Protections that a test takes away, to show that the crash tests notice. Nothing of this is in the product: the
 * node's database connections and its way out are wrapped, and what the protection consists of is taken out there.
 *
 * - `answers_before_commit`: COMMIT is answered at once and done a moment later.
 * - `forgets_deliveries`: an event is never recognised again.
 * - `ignores_fence`: a node believes that every run that it ever claimed is still its own.
 * - `hides_begun_attempts`: what leaves is not written down before it leaves.
 * - `sends_without_key`: the provider gets no idempotency key.
 * - `outstays_its_lease`: a node sends what it meant to send, however long it stood still before.
 * - `ignores_lanes`: a run does not wait for those before it in its lane.
 * - `rescues_nobody`: nobody looks for dead nodes.
 * - `leaves_without_policy`: addresses and URLs are not judged. Taken away where the way out is opened.
 * - `follows_redirects`: a redirect is followed, with everything that the first request carried.
 * - `reads_without_bounds`: an answer may be as large as it likes, packed and unpacked.
 * - `ignores_retry_after`: what the provider says of when to come again, and of what is left, is not read.
 * - `refreshes_out_of_turn`: every other node's turn to refresh a grant is taken to have ended.
 * - `reads_before_keeping`: what a token endpoint answers is not committed before it is read.
 */
export const SABOTAGES = [
  'answers_before_commit',
  'forgets_deliveries',
  'ignores_fence',
  'hides_begun_attempts',
  'sends_without_key',
  'outstays_its_lease',
  'ignores_lanes',
  'rescues_nobody',
  'ignores_retry_after',
  'refreshes_out_of_turn',
  'reads_before_keeping',
  'leaves_without_policy',
  'follows_redirects',
  'reads_without_bounds',
] as const
export type Sabotage = (typeof SABOTAGES)[number]
type SabotageOfTheWayOut =
  | 'sends_without_key'
  | 'outstays_its_lease'
  | 'ignores_retry_after'
  | 'leaves_without_policy'
  | 'follows_redirects'
  | 'reads_without_bounds'

/** The installation without that protection. Only for what is built on it afterwards. */
export function sabotage(installation: Installation, which: Sabotage): Installation {
  if (which === 'sends_without_key')
    return sendingInstead(installation, ({ headers, ...request }) => ({
      ...request,
      headers: Object.fromEntries(
        Object.entries(headers ?? {}).filter(([name]) => name !== 'idempotency-key'),
      ),
    }))
  if (which === 'leaves_without_policy') return installation
  if (which === 'follows_redirects') return changingAnswers(installation, followRedirects)
  if (which === 'reads_without_bounds') return unbounded(installation)
  if (which === 'outstays_its_lease') return outstaying(installation)
  if (which === 'ignores_retry_after') return notHearing(installation, /^retry-after$|ratelimit/)
  const spoil = SPOILERS[which]()
  // Every connection of the pool, those that exist and those to come, passes through here.
  installation.database.pool.on('acquire', (client) => spoilClient(client, spoil))
  // A node that believes in its runs believes in its lease too: one protection stands behind the other.
  return which === 'ignores_fence' ? outstaying(installation) : installation
}

function outstaying(installation: Installation): Installation {
  return sendingInstead(installation, (request) => ({ ...request, spentMs: undefined, mayLeave: undefined }))
}

/** The way out with other requests than it was asked for. */
function sendingInstead(
  installation: Installation,
  change: (request: EgressRequest) => EgressRequest,
): Installation {
  const { egress } = installation
  return {
    ...installation,
    egress: { ...egress, close: () => egress.close(), send: (request) => egress.send(change(request)) },
  }
}

type Change = (
  answer: Answered,
  request: EgressRequest,
  egress: Egress,
) => EgressResult | Promise<EgressResult>

/** Answers come in otherwise than they were given. */
function changingAnswers(installation: Installation, change: Change): Installation {
  const { egress } = installation
  const send: Egress['send'] = async (request) => {
    const result = await egress.send(request)
    return result.as === 'answered' ? change(result, request, egress) : result
  }
  return { ...installation, egress: { ...egress, close: () => egress.close(), send } }
}

/** Answers come in without these headers. */
function notHearing(installation: Installation, unheard: RegExp): Installation {
  return changingAnswers(installation, (answer) => {
    const heard = Object.entries(answer.headers).filter(([name]) => !unheard.test(name))
    return { ...answer, headers: Object.fromEntries(heard) }
  })
}

const followRedirects: Change = (answer, request, egress) => {
  const { location } = answer.headers
  if (location === undefined || answer.status < 300 || answer.status > 399) return answer
  return egress.send({ ...request, url: new URL(location, request.url).href })
}

const NO_BOUND = 1 << 30

function unbounded(installation: Installation): Installation {
  const policy = {
    maxBodyBytes: NO_BOUND,
    maxDecodeRatio: NO_BOUND,
    maxHeaderBytes: NO_BOUND,
    maxHeaders: NO_BOUND,
  }
  return { ...installation, egress: createEgress({ clock: systemClock, policy }) }
}

interface Statement {
  name?: string
  text: string
  values?: unknown[]
}
type Rows = Record<string, unknown>[]
type Callback = (error: Error | undefined, result?: unknown) => void

/** What is done to statements on their way to the database, and to what comes back. */
interface Spoiler {
  /** Another statement instead. */
  readonly change?: (statement: Statement) => Statement
  readonly changeRows?: (statement: Statement, rows: Rows) => Rows
  /** Milliseconds that COMMIT is put off, while it is answered at once. */
  readonly commitLateMs?: number
}

const SPOILERS: Readonly<Record<Exclude<Sabotage, SabotageOfTheWayOut>, () => Spoiler>> = {
  answers_before_commit: () => ({ commitLateMs: 200 }),
  forgets_deliveries: () => ({
    change: (statement) => {
      if (statement.name !== 'take_keys') return statement
      const [tenants, connections, hashes, ...rest] = statement.values as [unknown, unknown, unknown[]]
      return { ...statement, values: [tenants, connections, hashes.map(() => randomBytes(32)), ...rest] }
    },
  }),
  ignores_fence: () => {
    const claims = new Map<unknown, Record<string, unknown>>()
    return {
      changeRows: (statement, rows) => {
        if (statement.name === 'claim_runs')
          for (const row of rows)
            claims.set(row['id'], { fence: row['fence'], node_id: statement.values?.[2] })
        return statement.name === 'lock_runs'
          ? rows.map((row) => ({ ...row, ...claims.get(row['id']) }))
          : rows
      },
    }
  },
  hides_begun_attempts: () => ({
    changeRows: (statement, rows) => (statement.name === 'load_last_attempts' ? [] : rows),
  }),
  ignores_lanes: () => ({
    change: (statement) => ({
      ...statement,
      text: statement.text.replaceAll('not r.lane_open or', 'true or'),
    }),
  }),
  refreshes_out_of_turn: () => ({
    change: (statement) => ({
      ...statement,
      text: statement.text.replace('lease_until <= clock_timestamp() as lease_ended', 'true as lease_ended'),
    }),
  }),
  reads_before_keeping: () => ({
    change: (statement) =>
      statement.text.startsWith('insert into grant_refreshes') && statement.text.includes("'answered'")
        ? {
            ...statement,
            text: 'select $1::text, $2::text, $3::text, $4::bigint, $5::boolean, $6::integer, $7::bytea',
          }
        : statement,
  }),
  rescues_nobody: () => ({
    changeRows: (statement, rows) => (statement.text.startsWith('select n.id from nodes') ? [] : rows),
  }),
}

const spoiled = new WeakSet<pg.PoolClient>()

function spoilClient(client: pg.PoolClient, spoiler: Spoiler): void {
  if (spoiled.has(client)) return
  spoiled.add(client)
  const query = client.query.bind(client) as (...given: unknown[]) => Promise<unknown> | undefined
  let before: Promise<unknown> = Promise.resolve()
  const spoil = (first: string | Statement, ...rest: unknown[]): unknown => {
    const callback = rest.findLast((value) => typeof value === 'function') as Callback | undefined
    const values = rest.find((value) => Array.isArray(value)) as unknown[] | undefined
    const asked: Statement = typeof first === 'string' ? { text: first, values } : { values, ...first }
    const statement = spoiler.change?.(asked) ?? asked
    if (spoiler.commitLateMs !== undefined && statement.text === 'commit') {
      before = pause(systemClock, spoiler.commitLateMs).then(() => query('commit'))
      before.catch(() => {})
      return Promise.resolve({ command: 'COMMIT', rows: [], rowCount: null })
    }
    const answer = afterWhatWasPutOff(before, spoiler, () => query(statement)!).then((result) => {
      const { rows } = result as { rows: Rows }
      return { ...(result as object), rows: spoiler.changeRows?.(statement, rows) ?? rows }
    })
    if (!callback) return answer
    answer.then(
      (result) => callback(undefined, result),
      (error: Error) => callback(error),
    )
    return undefined
  }
  client.query = spoil as typeof client.query
}

/** Statements keep their order; nothing waits where nothing is put off. */
function afterWhatWasPutOff(
  before: Promise<unknown>,
  spoiler: Spoiler,
  then: () => Promise<unknown>,
): Promise<unknown> {
  return spoiler.commitLateMs === undefined ? then() : before.then(then, then)
}
