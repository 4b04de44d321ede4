import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { MINUTE, SECOND, systemClock } from '../../src/base/index.ts'
import { signatureSchemes } from '../../src/define/index.ts'
import { effectsOf } from '../crash/flows.ts'
import type { Sent } from '../crash/sender.ts'
import { until } from '../crash/underLoad.ts'
import type { PlatformNode } from '../crash/surroundings.ts'
import { WALL_LIMITS } from './connectors.ts'
import { settleMs, type Drill, type DrillOptions, type DrillReport } from './drill.ts'
import { postAll, type Posted } from './posting.ts'
import { countedBy, onStage, type Stage } from './stage.ts'
import { sentOf } from './storm.ts'
import { ATTEMPTS_FILE, type Attempt } from './wallForms.ts'

const ALLOWED = WALL_LIMITS[0].allowed
/** As many as are let in during the time: they wait from the start, so the limit is what holds them back. */
const BACKLOG_SHARE = 1
/** All of them want to send at once, and share the limit. */
const NODES = ['first', 'second', 'third', 'fourth']
const ALERTED_WITHIN_MS = 60 * SECOND
const TOLERATED = 1.1
/** An answer needs a moment until every node has heard of it. */
const HEARD_AFTER_MS = SECOND

export const wall: Drill = {
  number: '9',
  title: 'a provider refuses with 429 and 503, and says in every way when to come again',
  run: (options) =>
    onStage({ ...options, entries: join(options.compiled, 'drills') }, (stage) => play(stage, options)),
  controls: [{ sabotage: 'ignores_retry_after', notices: ({ broken }) => broken.some(isTooEarly) }],
}

/** Both walls, and a moment more: by then a broken build has shown itself. */
const NOTICED_WITHIN_MS = 20 * SECOND
const TOO_EARLY = 'came before the time that the provider named'
const isTooEarly = (line: string): boolean => line.includes(TOO_EARLY)

async function play(stage: Stage, options: DrillOptions): Promise<DrillReport> {
  const { seconds, seed, folder, onProgress } = options
  const nodes = await Promise.all(NODES.map((name) => stage.startNode(name)))
  const sent: Sent[] = []
  const calls = Math.round(seconds * ALLOWED * BACKLOG_SHARE)
  await postAll(stage, folder, dueCharges(seed, calls, sent), 12)
  onProgress(`${calls} calls are waiting`)

  // Two walls, and up to a minute more where a breaker opened at the end of the second one.
  const limitMs = options.sabotage === undefined ? 3 * seconds * SECOND + 2 * MINUTE : NOTICED_WITHIN_MS
  const left = (): number =>
    sent.filter((one) => effectsOf(one).some((key) => !stage.witness.places.has(key))).length
  const began = systemClock.monotonic()
  const toldAfter = (): number | undefined =>
    ['failing_calls', 'outage', 'budget']
      .flatMap((kind) => stage.sink.afterMs(kind, began) ?? [])
      .sort((a, b) => a - b)[0]
  await until(limitMs, async () => {
    stage.witness.look()
    return left() <= (await parked(stage))
  })
  const parkedRuns = await parked(stage)
  onProgress(`done but for ${left()}, of which ${parkedRuns} wait for a person`)
  // The one that is asked to come again in 31 years: somebody has talked to the provider.
  const releasedAt = systemClock.now()
  askToRetry(nodes)
  await until(settleMs(options, MINUTE), () => {
    stage.witness.look()
    return left() === 0
  })
  const tookMs = systemClock.monotonic() - began
  await stage.settled(5 * SECOND, sent)

  const judged = await stage.judged(sent)
  const attempts = readAttempts(join(folder, ATTEMPTS_FILE))
  const early = tooEarly(attempts, releasedAt)
  const rates = WALL_LIMITS.map(({ allowed, windowMs }) => ({
    windowMs,
    most: mostIn(attempts, windowMs),
    allowed,
  }))
  const absurd = attempts.filter(({ form }) => form === '429 10^9').length
  const named = attempts.filter(({ ref, at, notBefore = 0 }) => ref !== '' && notBefore > at)
  return {
    ...judged,
    drill: '9',
    scale: `${calls} calls at ${ALLOWED} a second instead of 5,000; two walls of 4 s`,
    recoveredMs: undefined,
    alertedMs: toldAfter(),
    figures: {
      attempts: attempts.length,
      'refused, by form': Object.entries(countedBy(attempts.flatMap(({ form }) => form ?? [])))
        .map(([form, count]) => `${form}: ${count}`)
        .join(', '),
      'named a later time': named.length,
      'attempts too early': early.length,
      'others that came meanwhile': othersMeanwhile(attempts),
      'most in a second': `${rates[0]!.most} of ${rates[0]!.allowed}`,
      'most in ten seconds': `${rates[1]!.most} of ${rates[1]!.allowed}`,
      'calls a second at the end': paceAtEnd(attempts, releasedAt),
      'parked for a person': parkedRuns,
      seconds: Math.round(tookMs / SECOND),
    },
    broken: [
      ...judged.broken,
      ...(named.length === 0 ? ['the provider named no time'] : []),
      ...early.slice(0, 5),
      ...rates
        .filter(({ most, allowed }) => most > TOLERATED * allowed)
        .map(
          ({ windowMs, most, allowed }) =>
            `${most} calls in ${windowMs / SECOND} s, where ${allowed} are allowed`,
        ),
      ...(left() > 0 ? [`${left()} calls were not done in the end`] : []),
      ...(absurd > 0 && parkedRuns === 0 && early.length === 0
        ? ['the call that is to come again in 31 years was not parked']
        : []),
    ],
    late: (toldAfter() ?? 0) > ALERTED_WITHIN_MS ? [`somebody was told after ${toldAfter()} ms`] : [],
  }
}

function* dueCharges(seed: string, calls: number, sent: Sent[]): Generator<Posted, void> {
  for (let i = 1; i <= calls; i++) {
    const of = sentOf(`${seed}-${i}`)
    sent.push(of)
    yield {
      of,
      id: of.id,
      path: '/webhooks/wall',
      scheme: signatureSchemes.standardWebhooks,
      body: JSON.stringify({ id: of.id, data: { ref: of.ref, customer: of.customer } }),
    }
  }
}

/** Runs that are parked until a time that no drill lives to see. */
async function parked(stage: Stage): Promise<number> {
  const rows = await stage.ask<{ many: number }>(
    `select count(*)::int as many from runs where state = 'parked' and due_at > now() + interval '1 day'`,
  )
  return rows?.[0]?.many ?? 0
}

function askToRetry(nodes: readonly PlatformNode[]): void {
  process.kill(nodes[0]!.pid(), 'SIGUSR2')
}

function readAttempts(file: string): readonly Attempt[] {
  return readFileSync(file, 'utf8')
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Attempt)
}

/** Attempts at a call before the time that the refusal of the one before had named, in words. */
function tooEarly(attempts: readonly Attempt[], releasedAt: number): string[] {
  const before = new Map<string, Attempt>()
  const found: string[] = []
  for (const attempt of attempts) {
    const last = before.get(attempt.ref)
    before.set(attempt.ref, attempt)
    if (attempt.ref === '' || last?.notBefore === undefined || attempt.at >= last.notBefore) continue
    // A person let it go, who may know better than the 31 years.
    if (last.form === '429 10^9' && attempt.at >= releasedAt) continue
    found.push(
      `${attempt.ref} ${TOO_EARLY}: by ${Math.round(last.notBefore - attempt.at)} ms, after ${last.form}`,
    )
  }
  return found
}

/** Calls that came while a 429, which is about all of them, had named a later time; what was under way not counted. */
function othersMeanwhile(attempts: readonly Attempt[]): number {
  let until = 0
  let from = 0
  let many = 0
  for (const { at, answeredAt, status, form, notBefore = 0 } of attempts) {
    if (at > from && at < until) many++
    // The absurd one counts for no longer than the longest window.
    if (status !== 429 || form === '429 10^9' || notBefore <= until) continue
    if (answeredAt >= until) from = answeredAt + HEARD_AFTER_MS
    until = notBefore
  }
  return many
}

const END_MS = 10 * SECOND

/** In the last ten seconds in which calls were waiting: how far the pace had come back after the last refusal. */
function paceAtEnd(attempts: readonly Attempt[], releasedAt: number): number {
  const backlog = attempts.filter(({ at }) => at < releasedAt)
  const last = backlog.at(-1)?.at ?? 0
  return (backlog.filter(({ at }) => at > last - END_MS).length * SECOND) / END_MS
}

/** Most calls in any window of this length, the refused ones with them. */
function mostIn(attempts: readonly Attempt[], windowMs: number): number {
  let most = 0
  let from = 0
  const times = attempts.map(({ at }) => at)
  for (const [i, at] of times.entries()) {
    while (times[from]! <= at - windowMs) from++
    most = Math.max(most, i - from + 1)
  }
  return most
}
