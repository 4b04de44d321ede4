/** The limits of docs/limits.md, with their values as the code has them, and the tests that meet them. */
import { DAY, HOUR, JSON_DEPTH_LIMIT, MINUTE, SECOND } from '../../src/base/index.ts'
import { FORM_FIELD_LIMIT } from '../../src/base/form.ts'
import { DEFAULT_TIMEOUT_MS } from '../../src/calls/call.ts'
import { GROUP_COMMIT_DEFAULTS } from '../../src/db/groupCommit.ts'
import { EGRESS_POLICY } from '../../src/egress/index.ts'
import { CLAIMS_WITHOUT_PROGRESS } from '../../src/flows/advance.ts'
import { RUNS_AT_ONCE, STOP_LIMIT_MS } from '../../src/flows/engine.ts'
import {
  JOURNAL_LIMIT_BYTES,
  LONGEST_WAIT_MS,
  RESULT_LIMIT_BYTES,
  STEP_NAME_LIMIT,
} from '../../src/flows/runLimits.ts'
import { MOST_CONNECTIONS } from '../../src/flows/retryBudgets.ts'
import { FLOW_RESULT_LIMIT_BYTES } from '../../src/flows/settle.ts'
import { FLOWS_PER_EVENT } from '../../src/inbox/flowTable.ts'
import { MOST_REDACTORS } from '../../src/calls/redaction.ts'
import { CONNECTION_LIMITS } from '../../src/server/index.ts'
import { MOST_LANES } from '../../src/server/routes/lanes.ts'
import {
  DEAD_AFTER_MS,
  OUTSIDE_LIMIT_MS,
  RETRY_DEFAULTS,
  STEPS_AT_ONCE,
  STEPS_PER_RUN,
} from '../../src/flows/index.ts'
import { CRON_LENGTH, SHORTEST_POLL_MS } from '../../src/define/index.ts'
import { EVENTS_PER_DELIVERY } from '../../src/inbox/prepare.ts'
import { RECIPIENTS_LIMIT } from '../../src/define/alerts.ts'
import { ALERT_RETRY } from '../../src/incidents/alerts/outbox.ts'
import { AWAY_AFTER_MS } from '../../src/incidents/away.ts'
import { ENTRIES_PER_LOOK } from '../../src/incidents/look.ts'
import { OPEN_INCIDENTS_LIMIT } from '../../src/incidents/plan.ts'
import { DETAIL_LIMIT } from '../../src/ledger/entry.ts'
import { KEEP_DAYS } from '../../src/ledger/partitions.ts'
import { BODY_LIMIT as KEPT_BODY_LIMIT } from '../../src/ledger/redact/redactor.ts'
import { BREAKER_POLICY, LONGEST_RETRY_AFTER_MS, RETRY_BUDGET } from '../../src/resilience/index.ts'
import { BLOCKED_LIMIT_MS } from '../../src/runtime/watchdog.ts'
import { FIRINGS_AT_ONCE } from '../../src/schedules/plan.ts'
import { PAGES_AT_ONCE } from '../../src/schedules/poll.ts'
import { POLLS_AT_ONCE } from '../../src/schedules/scheduler.ts'
import { BODY_LIMIT } from '../../src/server/http/body.ts'
import { BATCH_LIMIT } from '../../src/server/http/cloudEvents.ts'
import { pagingQuery } from '../../src/server/http/paging.ts'
import { READY_LIMIT_MS } from '../../src/server/http/readiness.ts'
import { ANSWER_LIMIT_MS } from '../../src/server/http/route.ts'
import { CODE_FOR_MS, SESSION_FOR_MS } from '../../src/server/live/access.ts'
import { VIEWERS_LIMIT } from '../../src/server/live/index.ts'
import { SESSION_CHECK_MS } from '../../src/server/live/sessionWatch.ts'
import { MOST_WEBHOOK_SECRETS } from '../../src/vault/plan.ts'
import { SEALED_VALUE_LIMIT } from '../../src/vault/seal.ts'
import { TOKENS_LISTED } from '../../src/vault/tokenRows.ts'
import { LONGEST_LIFE_MS, LONGEST_OVERLAP_MS, MOST_TOKENS, VERIFIED_FOR_MS } from '../../src/vault/tokens.ts'
import { ANSWER_LIMITS } from '../../src/webhooks/exchange.ts'
import { RECEIVE_LIMITS } from '../../src/webhooks/receive.ts'
import { SAMPLE_BODY_BYTES } from '../../src/webhooks/rejections.ts'
import { DEFAULT_TOLERANCE_SECONDS, SIGNATURES_LIMIT } from '../../src/webhooks/verify.ts'

/** What is bounded, by how much, what happens beyond it, and where the number stands. */
export type Limit = readonly [what: string, value: string, beyond: string, constant: string]

export const KIB = 1024
export const MIB = 1024 * KIB

/** The largest unit in which it is a whole number. */
function inUnits(amount: number, units: readonly (readonly [number, string])[]): string {
  const [size, unit] = units.find(([size]) => amount >= size && amount % size === 0) ?? units.at(-1)!
  return `${count(amount / size)} ${unit}`
}

export const bytes = (amount: number): string =>
  inUnits(amount, [
    [MIB, 'MiB'],
    [KIB, 'KiB'],
    [1, 'bytes'],
  ])

/** Days only from four on: 24 h and 72 h are said in hours. */
export const time = (ms: number): string =>
  inUnits(
    ms,
    [
      [DAY, 'days'],
      [HOUR, 'h'],
      [MINUTE, 'min'],
      [SECOND, 's'],
      [1, 'ms'],
    ].filter(([size]) => size !== DAY || ms > 3 * DAY) as [number, string][],
  )

export const count = (amount: number): string => amount.toLocaleString('en-US')

const page = (limit: number): boolean => pagingQuery.limit.safeParse(limit).success
/** The most that a listing takes, asked of its own check. */
const PAGE_MOST = Array.from({ length: 2000 }, (_, i) => i).findLast(page)!

export const COMING_IN: readonly Limit[] = [
  ['body of a webhook', bytes(RECEIVE_LIMITS.maxBodyBytes), '413', 'RECEIVE_LIMITS.maxBodyBytes'],
  ['header fields', count(RECEIVE_LIMITS.maxHeaders), '431', 'RECEIVE_LIMITS.maxHeaders'],
  ['all headers together', bytes(RECEIVE_LIMITS.maxHeaderBytes), '431', 'RECEIVE_LIMITS.maxHeaderBytes'],
  [
    'from the first header to the last byte',
    time(RECEIVE_LIMITS.receiveTimeoutMs),
    '408',
    'RECEIVE_LIMITS.receiveTimeoutMs',
  ],
  [
    'from the last byte to an answer',
    time(ANSWER_LIMITS.ackTimeoutMs),
    `503 with \`Retry-After: ${ANSWER_LIMITS.retryAfterSeconds}\``,
    'ANSWER_LIMITS.ackTimeoutMs',
  ],
  [
    'bodies held at once by a node whose signature is not checked yet',
    bytes(ANSWER_LIMITS.maxUnverifiedBytes),
    'who holds most and has waited longest gets 503',
    'ANSWER_LIMITS.maxUnverifiedBytes',
  ],
  [
    'connections to a node',
    count(CONNECTION_LIMITS.maxConnections),
    'one that waits for its client is closed',
    'CONNECTION_LIMITS.maxConnections',
  ],
  [
    'from a connection’s first byte to the end of the headers',
    time(CONNECTION_LIMITS.headersTimeoutMs),
    '408',
    'CONNECTION_LIMITS.headersTimeoutMs',
  ],
  [
    'bodies of verified deliveries held at once by a node',
    bytes(ANSWER_LIMITS.maxHeldBytes),
    '503 with `Retry-After`',
    'ANSWER_LIMITS.maxHeldBytes',
  ],
  [
    'distance of a signed time from now, on both sides',
    time(DEFAULT_TOLERANCE_SECONDS * SECOND),
    '401; a connector may set another',
    'DEFAULT_TOLERANCE_SECONDS',
  ],
  [
    'signatures read from one header',
    count(SIGNATURES_LIMIT),
    'further ones are not read',
    'SIGNATURES_LIMIT',
  ],
  [
    'webhook secrets of one connection',
    count(MOST_WEBHOOK_SECRETS),
    'refused at start',
    'MOST_WEBHOOK_SECRETS',
  ],
  ['nesting of JSON', `${count(JSON_DEPTH_LIMIT)} levels`, 'quarantined (API: 400)', 'JSON_DEPTH_LIMIT'],
  ['fields of a form', count(FORM_FIELD_LIMIT), 'quarantined', 'FORM_FIELD_LIMIT'],
  [
    'events in one delivery',
    count(EVENTS_PER_DELIVERY),
    'the delivery is quarantined whole',
    'EVENTS_PER_DELIVERY',
  ],
  ['body kept of a rejected sample', bytes(SAMPLE_BODY_BYTES), 'cut', 'SAMPLE_BODY_BYTES'],
  ['cron expression', `${count(CRON_LENGTH)} characters`, 'refused where it is declared', 'CRON_LENGTH'],
  [
    'how often one list is polled',
    `once in ${time(SHORTEST_POLL_MS)}`,
    'refused where it is declared',
    'SHORTEST_POLL_MS',
  ],
  ['polls under way at once on a node', count(POLLS_AT_ONCE), 'wait for the next look', 'POLLS_AT_ONCE'],
  ['pages that one poll reads in a turn', count(PAGES_AT_ONCE), 'goes on at the next look', 'PAGES_AT_ONCE'],
  [
    'missed times that fire in one transaction',
    count(FIRINGS_AT_ONCE),
    'the next transaction goes on',
    'FIRINGS_AT_ONCE',
  ],
]

export const RUNS: readonly Limit[] = [
  ['runs executed at once by a node', count(RUNS_AT_ONCE), 'wait in the database', 'RUNS_AT_ONCE'],
  ['flows that one event may start', count(FLOWS_PER_EVENT), 'refused at start', 'FLOWS_PER_EVENT'],
  ['steps of one run', count(STEPS_PER_RUN), 'the step fails: `too_many_steps`', 'STEPS_PER_RUN'],
  ['steps of one run at once', count(STEPS_AT_ONCE), 'wait their turn', 'STEPS_AT_ONCE'],
  [
    'result of a local step',
    bytes(RESULT_LIMIT_BYTES),
    'the step fails: `result_too_large`',
    'RESULT_LIMIT_BYTES',
  ],
  [
    'results in one run’s journal',
    bytes(JOURNAL_LIMIT_BYTES),
    'no further step is begun: `journal_too_large`',
    'JOURNAL_LIMIT_BYTES',
  ],
  [
    'what a flow returns',
    bytes(FLOW_RESULT_LIMIT_BYTES),
    'left out, and the run says so: `result_too_large`',
    'FLOW_RESULT_LIMIT_BYTES',
  ],
  [
    'name of a step',
    `${count(STEP_NAME_LIMIT)} characters`,
    'the step fails: `step_name_too_long`',
    'STEP_NAME_LIMIT',
  ],
  [
    '`sleep`, and the timeout of `waitFor`',
    time(LONGEST_WAIT_MS),
    'the step fails: `duration_invalid`',
    'LONGEST_WAIT_MS',
  ],
  [
    'awaiting something that is no step',
    time(OUTSIDE_LIMIT_MS),
    'the run gives up: `awaited_outside_step`',
    'OUTSIDE_LIMIT_MS',
  ],
  [
    'blocking the event loop',
    time(BLOCKED_LIMIT_MS),
    'the node is ended and the run named',
    'BLOCKED_LIMIT_MS',
  ],
  [
    'claims of a run without progress',
    count(CLAIMS_WITHOUT_PROGRESS),
    'the run is parked',
    'CLAIMS_WITHOUT_PROGRESS',
  ],
  [
    'silence of a node until its runs are rescued',
    time(DEAD_AFTER_MS),
    'others take them over',
    'DEAD_AFTER_MS',
  ],
  ['finishing what is under way at a stop', time(STOP_LIMIT_MS), 'handed back', 'STOP_LIMIT_MS'],
]

export const GOING_OUT: readonly Limit[] = [
  ['first wait of a retry', time(RETRY_DEFAULTS.first), 'doubles, with full jitter', 'RETRY_DEFAULTS.first'],
  ['longest wait of a retry', time(RETRY_DEFAULTS.cap), 'stays there', 'RETRY_DEFAULTS.cap'],
  [
    'time over which a step is retried',
    time(RETRY_DEFAULTS.horizon),
    'the run gives up; deferred and parked time is not counted',
    'RETRY_DEFAULTS.horizon',
  ],
  [
    '`Retry-After` that is honoured',
    time(LONGEST_RETRY_AFTER_MS),
    'the run is parked',
    'LONGEST_RETRY_AFTER_MS',
  ],
  [
    'failing retries over one connection, on each node',
    `${RETRY_BUDGET.share * 100} % of first attempts, and ${count(RETRY_BUDGET.perSecond)} a second`,
    'deferred; that costs no attempt',
    'RETRY_BUDGET',
  ],
  [
    'one exchange, unless its operation says otherwise',
    time(DEFAULT_TIMEOUT_MS),
    'failed or in doubt',
    'DEFAULT_TIMEOUT_MS',
  ],
  [
    'name, connect and TLS',
    time(EGRESS_POLICY.connectTimeoutMs),
    'not sent',
    'EGRESS_POLICY.connectTimeoutMs',
  ],
  ['the addresses of a name', time(EGRESS_POLICY.nameTimeoutMs), 'not sent', 'EGRESS_POLICY.nameTimeoutMs'],
  ['a TCP connection', time(EGRESS_POLICY.tcpTimeoutMs), 'not sent', 'EGRESS_POLICY.tcpTimeoutMs'],
  ['a TLS handshake', time(EGRESS_POLICY.tlsTimeoutMs), 'not sent', 'EGRESS_POLICY.tlsTimeoutMs'],
  [
    'until the head of an answer is whole',
    time(EGRESS_POLICY.firstByteTimeoutMs),
    'outcome unknown',
    'EGRESS_POLICY.firstByteTimeoutMs',
  ],
  [
    'silence within the body of an answer',
    time(EGRESS_POLICY.idleTimeoutMs),
    'outcome unknown',
    'EGRESS_POLICY.idleTimeoutMs',
  ],
  [
    'body of an answer, as received and as unpacked',
    bytes(EGRESS_POLICY.maxBodyBytes),
    'outcome unknown',
    'EGRESS_POLICY.maxBodyBytes',
  ],
  [
    'headers of an answer',
    bytes(EGRESS_POLICY.maxHeaderBytes),
    'outcome unknown',
    'EGRESS_POLICY.maxHeaderBytes',
  ],
  [
    'header fields of an answer',
    count(EGRESS_POLICY.maxHeaders),
    'outcome unknown',
    'EGRESS_POLICY.maxHeaders',
  ],
  [
    'informational answers (1xx) before the answer',
    count(EGRESS_POLICY.maxInformational),
    'outcome unknown',
    'EGRESS_POLICY.maxInformational',
  ],
  [
    'unpacked bytes for each packed byte',
    count(EGRESS_POLICY.maxDecodeRatio),
    'outcome unknown',
    'EGRESS_POLICY.maxDecodeRatio',
  ],
  [
    'sockets to one origin',
    count(EGRESS_POLICY.connectionsPerOrigin),
    'wait for a place',
    'EGRESS_POLICY.connectionsPerOrigin',
  ],
  [
    'exchanges with one origin at once',
    count(EGRESS_POLICY.inFlightPerOrigin),
    'not sent: `egress_busy`',
    'EGRESS_POLICY.inFlightPerOrigin',
  ],
  [
    'failures that open a breaker',
    `${BREAKER_POLICY.failureShare * 100} % of ${BREAKER_POLICY.minimumResults} or more in ${time(BREAKER_POLICY.windowMs)}`,
    'runs are parked; that costs no attempt',
    'BREAKER_POLICY',
  ],
  [
    'time that a breaker stays open',
    `${time(BREAKER_POLICY.openMs)}, doubling to ${time(BREAKER_POLICY.openCapMs)}`,
    'then single probes',
    'BREAKER_POLICY.openMs, openCapMs',
  ],
]

export const API: readonly Limit[] = [
  ['body of a request', bytes(BODY_LIMIT), '413', 'BODY_LIMIT'],
  ['events in one batch', count(BATCH_LIMIT), '413', 'BATCH_LIMIT'],
  ['items on a page', count(PAGE_MOST), '400', 'pagingQuery.limit'],
  ['a listing or an action', time(ANSWER_LIMIT_MS), '503', 'ANSWER_LIMIT_MS'],
  ['a look at the database by `/ready`', time(READY_LIMIT_MS), '503', 'READY_LIMIT_MS'],
  ['lanes that are listed', count(MOST_LANES), '400', 'MOST_LANES'],
  ['viewers of the live page on one node', count(VIEWERS_LIMIT), '503', 'VIEWERS_LIMIT'],
  ['life of a one-time link', time(CODE_FOR_MS), 'ask for another', 'CODE_FOR_MS'],
  ['life of a session of the live page', time(SESSION_FOR_MS), 'sign in again', 'SESSION_FOR_MS'],
  [
    'time until a revoked token is refused by every node',
    time(VERIFIED_FOR_MS),
    'refused',
    'VERIFIED_FOR_MS',
  ],
  [
    'time until a stream of the live page ends with its session',
    time(SESSION_CHECK_MS),
    'ended',
    'SESSION_CHECK_MS',
  ],
  ['tokens in force of a tenant', count(MOST_TOKENS), '409', 'MOST_TOKENS'],
  [
    'tokens that are listed',
    count(TOKENS_LISTED),
    'of those revoked the oldest are left out',
    'TOKENS_LISTED',
  ],
  ['life of a token that ends', time(LONGEST_LIFE_MS), '400', 'LONGEST_LIFE_MS'],
  ['time for which a rotated token stays good', time(LONGEST_OVERLAP_MS), '400', 'LONGEST_OVERLAP_MS'],
]

export const KEEPING: readonly Limit[] = [
  [
    'age of the ledger’s entries',
    time(KEEP_DAYS * DAY),
    'dropped by whole days, as a signed entry says',
    'KEEP_DAYS',
  ],
  [
    'writes that wait for the database, for each writer of a node',
    count(GROUP_COMMIT_DEFAULTS.waiting),
    'intake: 503; runs try again',
    'GROUP_COMMIT_DEFAULTS.waiting',
  ],
  [
    'writes in one transaction',
    count(GROUP_COMMIT_DEFAULTS.most),
    'the next transaction',
    'GROUP_COMMIT_DEFAULTS.most',
  ],
  [
    'bytes in one transaction',
    bytes(GROUP_COMMIT_DEFAULTS.mostBytes),
    'the next transaction; what is larger stands alone',
    'GROUP_COMMIT_DEFAULTS.mostBytes',
  ],
  [
    'body of an exchange in the ledger',
    `${count(KEPT_BODY_LIMIT)} characters`,
    'cut, with its length',
    'BODY_LIMIT',
  ],
  [
    'detail of a ledger entry',
    `${count(DETAIL_LIMIT)} characters`,
    'its length and hash are kept',
    'DETAIL_LIMIT',
  ],
  [
    'connections whose retries a node keeps count of',
    count(MOST_CONNECTIONS),
    'of the longest unused the count begins anew',
    'MOST_CONNECTIONS',
  ],
  [
    'redactors that a node keeps made',
    count(MOST_REDACTORS),
    'the oldest is made again when needed',
    'MOST_REDACTORS',
  ],
  ['one sealed secret', bytes(SEALED_VALUE_LIMIT), 'refused: `secret_too_long`', 'SEALED_VALUE_LIMIT'],
]

export const TELLING: readonly Limit[] = [
  [
    'incidents that are open at once',
    count(OPEN_INCIDENTS_LIMIT),
    'further ones are opened when there is room; the incident `left_out` says so',
    'OPEN_INCIDENTS_LIMIT',
  ],
  [
    'ledger entries that one look reads',
    count(ENTRIES_PER_LOOK),
    'the next goes on at once',
    'ENTRIES_PER_LOOK',
  ],
  ['addresses that mails go to', count(RECIPIENTS_LIMIT), 'refused at start', 'RECIPIENTS_LIMIT'],
  [
    'trying to send an alert',
    time(ALERT_RETRY.horizon),
    'given up, with a ledger entry',
    'ALERT_RETRY.horizon',
  ],
  [
    'silence of the database until it is told',
    time(AWAY_AFTER_MS),
    'each node tells for itself',
    'AWAY_AFTER_MS',
  ],
]
