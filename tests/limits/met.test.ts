/** Every limit of docs/limits.md has a test that meets it: a limit without one fails here. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { API, COMING_IN, GOING_OUT, KEEPING, RUNS, TELLING } from './table.ts'

const ROOT = join(import.meta.dirname, '../..')

/** The file and the name of the test that goes beyond the limit and sees what happens then. */
const MET: Readonly<Record<string, readonly [file: string, test: string]>> = {
  'RECEIVE_LIMITS.maxBodyBytes': [
    'src/webhooks/intake.refusals.test.ts',
    'a body that announces too much: 413 before it has come',
  ],
  'RECEIVE_LIMITS.maxHeaders': ['src/webhooks/intake.refusals.test.ts', 'too many headers: 431'],
  'RECEIVE_LIMITS.maxHeaderBytes': ['src/webhooks/intake.refusals.test.ts', 'too large headers: 431'],
  'RECEIVE_LIMITS.receiveTimeoutMs': ['src/webhooks/intake.refusals.test.ts', 'slower than the limit: 408'],
  'ANSWER_LIMITS.ackTimeoutMs': [
    'src/webhooks/intake.refusals.test.ts',
    'a commit that comes after the deadline changes nothing for the sender',
  ],
  'ANSWER_LIMITS.maxUnverifiedBytes': [
    'src/webhooks/room.test.ts',
    'give way, oldest first and with 503, to deliveries that come in one piece, from the same address even',
  ],
  'CONNECTION_LIMITS.maxConnections': [
    'src/server/http/connections.test.ts',
    'close the one of the same address that has waited longest, and the newcomer is served',
  ],
  'CONNECTION_LIMITS.headersTimeoutMs': [
    'src/server/http/connections.test.ts',
    'headers that do not come within the time are answered 408',
  ],
  'ANSWER_LIMITS.maxHeldBytes': [
    'src/webhooks/intake.refusals.test.ts',
    'deliveries whose commit hangs are bounded: what they hold counts until they end',
  ],
  DEFAULT_TOLERANCE_SECONDS: [
    'src/webhooks/verify.test.ts',
    '%s refuses what was signed outside the tolerance, on both sides, ten years included',
  ],
  SIGNATURES_LIMIT: ['tests/limits/others.test.ts', 'signatures beyond the number that is read are not read'],
  MOST_WEBHOOK_SECRETS: [
    'tests/limits/others.test.ts',
    'more webhook secrets than a connection may have are refused',
  ],
  JSON_DEPTH_LIMIT: [
    'tests/limits/others.test.ts',
    'JSON nested deeper than the limit is refused, and at the limit read',
  ],
  FORM_FIELD_LIMIT: [
    'src/base/form.test.ts',
    'sorts by name, keeps each value of a repeated field once, and ends at a thousand fields',
  ],
  EVENTS_PER_DELIVERY: [
    'tests/limits/runs.test.ts',
    'a delivery of more events than one may carry is quarantined whole',
  ],
  CRON_LENGTH: ['src/define/triggers/cron.test.ts', 'refuses an expression that is too long'],
  SHORTEST_POLL_MS: [
    'src/define/triggers/poll.test.ts',
    'refuses polls that are closer together than the limit',
  ],
  POLLS_AT_ONCE: ['src/schedules/poll.test.ts', 'is bounded by polls: further ones wait for the next look'],
  PAGES_AT_ONCE: [
    'src/schedules/poll.test.ts',
    'is bounded by pages: a long list goes on at the next look, and others have their turn',
  ],
  FIRINGS_AT_ONCE: ['src/schedules/fire.test.ts', "with missed: 'all' runs more than one transaction takes"],
  SAMPLE_BODY_BYTES: [
    'src/webhooks/rejections.test.ts',
    'keep at most a hundred samples of an endpoint, each cut to 64 KiB',
  ],

  RUNS_AT_ONCE: ['tests/limits/runs.test.ts', 'more runs than a node executes at once wait in the database'],
  FLOWS_PER_EVENT: [
    'tests/limits/runs.test.ts',
    'more flows on one event than may start are refused at start',
  ],
  STEPS_PER_RUN: [
    'tests/limits/runs.test.ts',
    'a run that asks for more steps than it may fails with too_many_steps',
  ],
  STEPS_AT_ONCE: ['tests/limits/runs.test.ts', 'more steps at once than may be under way wait their turn'],
  RESULT_LIMIT_BYTES: [
    'tests/limits/runs.test.ts',
    'a result of a local step over its limit fails with result_too_large',
  ],
  JOURNAL_LIMIT_BYTES: [
    'tests/limits/runs.test.ts',
    'a journal over its limit begins no further step, and says journal_too_large',
  ],
  FLOW_RESULT_LIMIT_BYTES: [
    'tests/limits/runs.test.ts',
    'what a flow returns over its limit is left out, with the reason on the run',
  ],
  STEP_NAME_LIMIT: [
    'tests/limits/runs.test.ts',
    'a name of a step over its limit fails with step_name_too_long',
  ],
  LONGEST_WAIT_MS: ['tests/attack/chaos.test.ts', 'a sleep beyond what a date can hold is refused'],
  OUTSIDE_LIMIT_MS: [
    'tests/attack/crashes.test.ts',
    'that awaits something for ever before its first step is ended after 10 s',
  ],
  BLOCKED_LIMIT_MS: [
    'tests/limits/others.test.ts',
    'a flow that blocks the event loop ends its node, which names the run',
  ],
  CLAIMS_WITHOUT_PROGRESS: [
    'tests/limits/runs.test.ts',
    'a run that was claimed too often without progress is parked',
  ],
  DEAD_AFTER_MS: [
    'tests/limits/runs.test.ts',
    'a node that is silent for too long loses its runs, and no sooner',
  ],
  STOP_LIMIT_MS: ['tests/limits/runs.test.ts', 'what does not end in time at a stop is handed back'],

  'RETRY_DEFAULTS.first': [
    'src/resilience/backoff.test.ts',
    'doubles its ceiling from the first wait up to the cap',
  ],
  'RETRY_DEFAULTS.cap': [
    'src/resilience/backoff.test.ts',
    'doubles its ceiling from the first wait up to the cap',
  ],
  'RETRY_DEFAULTS.horizon': [
    'src/resilience/backoff.test.ts',
    'ends at the horizon, and after the attempts that the policy allows',
  ],
  LONGEST_RETRY_AFTER_MS: ['src/resilience/backoff.test.ts', 'parks beyond 24 hours, and says until when'],
  RETRY_BUDGET: [
    'tests/limits/others.test.ts',
    'retries of a connection beyond its share are deferred, and more come with first attempts and time',
  ],
  DEFAULT_TIMEOUT_MS: ['src/calls/call.test.ts', 'no answer in time is doubt'],
  'EGRESS_POLICY.connectTimeoutMs': [
    'src/egress/notSent.test.ts',
    'a connection that never comes about; and when it comes too late, it carries nothing',
  ],
  'EGRESS_POLICY.nameTimeoutMs': ['src/egress/phases.test.ts', 'the name: a resolver that says nothing'],
  'EGRESS_POLICY.tcpTimeoutMs': ['src/egress/phases.test.ts', 'the connection: a host that lets SYNs fall'],
  'EGRESS_POLICY.tlsTimeoutMs': [
    'src/egress/phases.test.ts',
    'TLS: a server that takes the connection and says nothing',
  ],
  'EGRESS_POLICY.firstByteTimeoutMs': [
    'src/egress/phases.test.ts',
    'the first byte: informational answers and half a head do not lengthen it',
  ],
  'EGRESS_POLICY.idleTimeoutMs': [
    'src/egress/phases.test.ts',
    'between bytes: a body that comes in pieces goes on, and one that falls silent does not',
  ],
  'EGRESS_POLICY.maxHeaders': ['src/egress/phases.test.ts', 'has its fields counted, repeated ones each'],
  'EGRESS_POLICY.maxInformational': ['src/egress/phases.test.ts', 'ends where informational answers do not'],
  'EGRESS_POLICY.maxBodyBytes': [
    'src/egress/bounds.test.ts',
    'a body over the limit is cut off while it comes, with and without a length',
  ],
  'EGRESS_POLICY.maxHeaderBytes': [
    'src/egress/bounds.test.ts',
    'headers over the limit are refused, in one line or in many',
  ],
  'EGRESS_POLICY.maxDecodeRatio': [
    'src/egress/bounds.test.ts',
    'a small body that unpacks to a large one is refused before it is in memory',
  ],
  'EGRESS_POLICY.connectionsPerOrigin': [
    'src/egress/notSent.test.ts',
    'a place in the pool that does not get free in time',
  ],
  'EGRESS_POLICY.inFlightPerOrigin': [
    'src/egress/notSent.test.ts',
    'more exchanges than the origin may have in flight',
  ],
  BREAKER_POLICY: [
    'tests/limits/others.test.ts',
    'failures beyond the share open a breaker, and below it do not',
  ],
  'BREAKER_POLICY.openMs, openCapMs': [
    'src/resilience/breaker.test.ts',
    'opens for five seconds, and for twice as long with each probe that fails, up to two minutes',
  ],

  BODY_LIMIT: [
    'src/server/api.test.ts',
    'is 413 for a body that is too large, on every route, whether its length is said or not',
  ],
  BATCH_LIMIT: ['src/server/emit.test.ts', 'of more than 1,000 is 413'],
  'pagingQuery.limit': ['src/server/api.test.ts', 'says which parameter of %s is wrong'],
  ANSWER_LIMIT_MS: ['tests/limits/others.test.ts', 'an answer of the API that takes too long is 503'],
  READY_LIMIT_MS: ['src/server/api.test.ts', 'is 503 after 500 ms where the database hangs'],
  MOST_LANES: ['tests/lanes/held.test.ts', 'more lanes than can be listed are refused'],
  VIEWERS_LIMIT: [
    'src/server/live/live.test.ts',
    'is not opened for more viewers than the limit, and a place is free again once one leaves',
  ],
  CODE_FOR_MS: ['src/server/live/live.test.ts', 'is good for 10 minutes, and its session for 12 hours'],
  SESSION_FOR_MS: ['src/server/live/live.test.ts', 'is good for 10 minutes, and its session for 12 hours'],
  VERIFIED_FOR_MS: [
    'src/vault/tokens.test.ts',
    'that is revoked is refused here at once, and on other nodes when their memory of it ends',
  ],
  SESSION_CHECK_MS: [
    'src/server/live/sessionWatch.test.ts',
    'asks again and again while the viewer may watch or nobody knows, and ends the stream once they may not',
  ],
  MOST_TOKENS: ['src/vault/tokens.test.ts', 'is not made beyond 1,000 in force, and all in force are listed'],
  TOKENS_LISTED: [
    'src/vault/tokens.test.ts',
    'is not made beyond 1,000 in force, and all in force are listed',
  ],
  LONGEST_LIFE_MS: [
    'src/vault/tokens.test.ts',
    'ends at its time to the millisecond, also where it was verified a moment before',
  ],
  LONGEST_OVERLAP_MS: [
    'src/vault/tokens.test.ts',
    'is refused of one that is over, was rotated already, or is of another tenant',
  ],

  KEEP_DAYS: ['src/ledger/verify.test.ts', 'drops what is old, and the verifier reports a stated gap'],
  'GROUP_COMMIT_DEFAULTS.waiting': [
    'tests/limits/others.test.ts',
    'writes beyond those that may wait are refused as overloaded',
  ],
  'GROUP_COMMIT_DEFAULTS.most': [
    'tests/limits/others.test.ts',
    'a transaction takes no more writes and bytes than it may; what is larger stands alone',
  ],
  'GROUP_COMMIT_DEFAULTS.mostBytes': [
    'tests/limits/others.test.ts',
    'a transaction takes no more writes and bytes than it may; what is larger stands alone',
  ],
  BODY_LIMIT_KEPT: ['src/ledger/redact/redactor.test.ts', 'is cut, and says its length'],
  DETAIL_LIMIT: ['src/ledger/entry.test.ts', 'keeps of a detail that is too long its length and hash'],
  MOST_CONNECTIONS: [
    'tests/limits/others.test.ts',
    'retry budgets beyond the number that is kept in memory begin anew, the longest unused first',
  ],
  MOST_REDACTORS: ['tests/limits/others.test.ts', 'redactors beyond the number that is kept are made again'],
  SEALED_VALUE_LIMIT: ['src/vault/seal.test.ts', 'is refused beyond the limit'],
  OPEN_INCIDENTS_LIMIT: [
    'src/incidents/plan.test.ts',
    'leave out what is too much, and open it when there is room',
  ],
  ENTRIES_PER_LOOK: [
    'src/ledger/follow.test.ts',
    'reads about as many as it is to, in whole transactions, and says that there are more',
  ],
  RECIPIENTS_LIMIT: ['src/define/alerts.test.ts', 'is refused: %s'],
  'ALERT_RETRY.horizon': [
    'src/incidents/alerts/channels.test.ts',
    'an alert that was not taken is due again, later and later, and given up after three days',
  ],
  AWAY_AFTER_MS: [
    'src/incidents/away.test.ts',
    'is told of after a while, once, and written down when it is back',
  ],
}

const limits = [...COMING_IN, ...RUNS, ...GOING_OUT, ...API, ...KEEPING, ...TELLING]
const testOf = (what: string, constant: string) =>
  MET[what === 'body of an exchange in the ledger' ? 'BODY_LIMIT_KEPT' : constant]

it.each(limits.map(([what, , , constant]) => [what, constant] as const))(
  '%s: a test meets it',
  (what, constant) => {
    const met = testOf(what, constant)
    expect(
      met,
      `Write a test that goes beyond ${constant}, and name it in tests/limits/met.test.ts.`,
    ).toBeDefined()
    const [file, test] = met!
    const source = readFileSync(join(ROOT, file), 'utf8')
    // As the name of a test, and not of one that is left out.
    const name = test.replaceAll(/[.*+?^${}()|[\]\\]/g, '\\$&')
    expect(source).toMatch(new RegExp(`(?:\\bit|\\)|\\])\\(\\s*['"]${name}['"]`))
  },
)

it('no test is named for a limit that is none any more', () => {
  const used = new Set(limits.map(([what, , , constant]) => testOf(what, constant)))
  expect(
    Object.entries(MET)
      .filter(([, met]) => !used.has(met))
      .map(([constant]) => constant),
  ).toEqual([])
})
