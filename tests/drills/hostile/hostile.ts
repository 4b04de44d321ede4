import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { encodeJson, parseJson, pause, SECOND, systemClock } from '../../../src/base/index.ts'
import { signatureSchemes } from '../../../src/define/index.ts'
import { effectsOf } from '../../crash/flows.ts'
import type { Sent } from '../../crash/sender.ts'
import { until } from '../../crash/underLoad.ts'
import { openCanary, type Canary } from '../../egress/canary.ts'
import { settleMs, type Drill, type DrillOptions, type DrillReport } from '../drill.ts'
import { postAll, type Posted } from '../posting.ts'
import { countedBy, onStage, type Stage } from '../stage.ts'
import { sentOf } from '../storm.ts'
import { hostileAnswers, makeAmmunition, type HostileAnswer } from './answers.ts'
import { BODIES, NAUGHTY } from './bodies.ts'
import { HOWS, ROGUE_TOKEN, type How } from './connectors.ts'
import { openRogue, type Rogue } from './rogue.ts'

const MOST_MEMORY_MB = 512
const ALERTED_WITHIN_MS = 60 * SECOND
const OTHERS_RATIO = 1.2
const OTHERS_PER_SECOND = 20
/** From here on each answer is played for each kind of call, and the time of the others is judged. */
const WHOLE_FROM_SECONDS = 20
const SETTLED_WITHIN_MS = 150 * SECOND
const AT_ONCE = 8

export const hostile: Drill = {
  number: '11',
  title: 'a system outside answers and sends what no honest one would',
  run: withRogue,
  controls: [
    { sabotage: 'follows_redirects', notices: ({ broken }) => broken.some((line) => line.includes(LEAKED)) },
    {
      sabotage: 'reads_without_bounds',
      notices: ({ broken }) => broken.some((line) => line.includes(SWOLLEN)),
    },
    { sabotage: 'sends_without_key', notices: ({ twice }) => twice > 0 },
  ],
}
const LEAKED = 'the other origin was told'
const SWOLLEN = 'MB of memory'

interface World {
  readonly stage: Stage
  readonly rogue: Rogue
  readonly elsewhere: Canary
  readonly answers: readonly HostileAnswer[]
}

async function withRogue(options: DrillOptions): Promise<DrillReport> {
  const elsewhere = await openCanary('127.0.0.1')
  const answers = hostileAnswers(await makeAmmunition(), `http://127.0.0.1:${elsewhere.port}`)
  const rogue = await openRogue(answers, join(options.folder, 'effects.jsonl'))
  try {
    return await onStage(
      {
        ...options,
        entries: join(options.compiled, 'drills'),
        nodesAlsoGet: { rogueUrl: rogue.url },
      },
      (stage) => play({ stage, rogue, elsewhere, answers }, options),
    )
  } finally {
    await Promise.all([rogue.close(), elsewhere.close()])
  }
}

async function play(world: World, options: DrillOptions): Promise<DrillReport> {
  const { stage, rogue, elsewhere, answers } = world
  const { seconds, seed, folder, onProgress } = options
  const node = await stage.startNode('first')
  const quietBefore = await others(stage, `${seed}-before`, () => pauseFor(seconds / 2))
  onProgress('the rogue begins')

  const asked: Asked[] = []
  const odd: Sent[] = []
  const besides = others(stage, `${seed}-during`, async (isOver) => {
    await postAll(stage, folder, hostilePosts(world, options, asked, odd), AT_ONCE)
    await settledAs(stage, asked, settleMs(options, SETTLED_WITHIN_MS))
    isOver()
  })
  const during = await besides
  const alertedMs = await toldAfter(stage, rogue)
  const first = await firstAttempts(stage)
  const memoryMb = mostMemoryMb(node.pid())
  onProgress(`${asked.length} calls answered by the rogue, and ${odd.length} odd deliveries`)
  const quietAfter = await others(stage, `${seed}-after`, () => pauseFor(seconds / 2))

  // A person has talked to them, and lets what was left to people go on.
  rogue.behave()
  process.kill(node.pid(), 'SIGUSR2')
  await until(settleMs(options, 60 * SECOND), async () => {
    await pause(systemClock, 200, { keepAlive: true })
    return (await unfinishedOf(stage)) === 0
  })
  const sent = [...asked.map(({ of }) => of), ...quietBefore, ...during, ...quietAfter]
  await stage.settled(5 * SECOND, sent)

  const judged = await stage.judged(sent)
  const unfinished = await unfinishedOf(stage)
  const received = await stage.ask<{ many: number }>(
    `select count(*)::int as many from deliveries d join connections c on c.tenant = d.tenant and c.id = d.connection_id
     where c.name = 'rogue'`,
  )
  const [quiet, busy] = [timesOf(stage, [...quietBefore, ...quietAfter]), timesOf(stage, during)]
  const ratio = p99(busy) / p99(quiet)
  const misread = misreadOf(asked, first, answers)
  const changed = changedOf(asked, rogue)
  const isWhole = seconds >= WHOLE_FROM_SECONDS && options.sabotage === undefined
  return {
    ...judged,
    drill: '11',
    scale: isWhole ? 'whole' : `each answer for one kind of call alone; the time of others is not judged`,
    recoveredMs: undefined,
    alertedMs,
    figures: {
      'hostile answers': `${rogue.played.size} of ${answers.length}, ${asked.length} times`,
      'first attempts': words(countedBy([...first.values()].map(({ state }) => state))),
      'odd deliveries': odd.length,
      'most memory of the node, MB': memoryMb,
      'others, p50 and p99 without it, ms': `${at(quiet, 0.5)} and ${p99(quiet)} of ${quiet.length}`,
      'others, p50 and p99 beside it, ms': `${at(busy, 0.5)} and ${p99(busy)} of ${busy.length}`,
      ratio: ratio.toFixed(2),
      'requests at the other origin': elsewhere.hits(),
    },
    broken: [
      ...judged.broken,
      ...(rogue.played.size < answers.length
        ? answers.filter(({ name }) => !rogue.played.has(name)).map(({ name }) => `"${name}" was not played`)
        : []),
      ...(elsewhere.hits() > 0
        ? [
            `${LEAKED}${elsewhere.heard().includes(ROGUE_TOKEN) ? ' the token' : ''}: ${elsewhere.hits()} requests`,
          ]
        : []),
      ...rogue.complaints.slice(0, 3),
      ...misread.slice(0, 8),
      ...changed.slice(0, 5),
      ...(memoryMb > MOST_MEMORY_MB
        ? [`the node took ${memoryMb} ${SWOLLEN}, at most ${MOST_MEMORY_MB} allowed`]
        : []),
      ...(alertedMs === undefined ? ['nobody was told of the rogue'] : []),
      ...(unfinished > 0 ? [`${unfinished} runs did not end after a person had let them go on`] : []),
      ...((received?.[0]?.many ?? 0) < asked.length + odd.length
        ? [
            `${asked.length + odd.length} deliveries of the rogue were sent, and ${received?.[0]?.many} are there`,
          ]
        : []),
      ...[...asked, ...odd.map((of) => ({ of }))]
        .filter(({ of }) => of.acknowledgedAt === undefined)
        .slice(0, 5)
        .map(({ of }) => `${of.id} was never acknowledged`),
      ...(node.hasEnded() ? ['the node ended'] : []),
    ],
    late: [
      ...((alertedMs ?? 0) > ALERTED_WITHIN_MS ? [`somebody was told after ${alertedMs} ms`] : []),
      ...(isWhole && ratio > OTHERS_RATIO
        ? [`p99 of other flows is ${ratio.toFixed(2)} times that without the rogue`]
        : []),
    ],
  }
}

/** A delivery that makes the node call the rogue. */
interface Asked {
  readonly of: Sent
  readonly how: How
  readonly form: number
  /** JSON that goes with it, and must come out as it went in. */
  readonly extra: string
}

/** Deliveries that make calls, and between them those that are odd themselves. */
function* hostilePosts(
  { answers }: World,
  { seed, seconds }: DrillOptions,
  asked: Asked[],
  odd: Sent[],
): Generator<Posted, void> {
  const extras = [
    ...BODIES.filter(({ isJson }) => isJson === 'yes').map(({ bytes }) => bytes.toString()),
    ...NAUGHTY.map((text) => JSON.stringify(text)),
  ]
  const hows = seconds >= WHOLE_FROM_SECONDS ? HOWS : HOWS.slice(0, 1)
  const forms = spread(answers).flatMap((form) =>
    hows.map((_, i) => ({ form, how: HOWS[(form + i) % HOWS.length]! })),
  )
  const oddities = oddBodies(seed)
  for (const [i, { form, how }] of forms.entries()) {
    const of = { ...sentOf(`${seed}-rogue-${i}`), kind: how === 'none' ? 'none' : 'one' } as Sent
    const extra = extras[i % extras.length]!
    asked.push({ of, how, form, extra })
    const customer = JSON.stringify(`${NAUGHTY[i % NAUGHTY.length]!}-${i}`)
    const data = `{"ref":"${of.ref}","customer":${customer},"how":"${how}","form":${form},"extra":${extra}}`
    yield post(of, Buffer.from(`{"id":"${of.id}","type":"asked","data":${data}}`))
    const next = oddities.shift()
    if (next) yield* [note(next)]
  }
  for (const next of oddities) yield note(next)

  function note(body: Buffer): Posted {
    const of = sentOf(`${seed}-odd-${odd.length}`)
    odd.push(of)
    return post(of, body)
  }
}

/**
 * The answers' numbers, those that no call survives evenly among the others: one after another they would open the
 * breaker, and those behind them would meet nobody.
 */
function spread(answers: readonly HostileAnswer[]): number[] {
  const numbers = answers.map((_, form) => form)
  const isGood = (form: number): boolean => !['doubt', 'refused'].includes(answers[form]!.means)
  const placed = [numbers.filter(isGood), numbers.filter((form) => !isGood(form))].flatMap((some) =>
    some.map((form, i) => ({ form, place: (i + 0.5) / some.length })),
  )
  return placed.sort((a, b) => a.place - b.place).map(({ form }) => form)
}

function post(of: Sent, body: Buffer): Posted {
  return { of, id: of.id, path: '/webhooks/rogue', scheme: signatureSchemes.standardWebhooks, body }
}

/** Signed deliveries whose body, id or type is hostile. */
function oddBodies(seed: string): Buffer[] {
  return [
    ...BODIES.map(({ bytes }) => bytes),
    ...NAUGHTY.flatMap((text, i) => [
      Buffer.from(JSON.stringify({ id: text, type: 'noted', data: { text } })),
      Buffer.from(JSON.stringify({ id: `${seed}-type-${i}`, type: text, data: { text } })),
    ]),
  ]
}

/** The honest flows' load while `work` goes on. */
async function others(
  stage: Stage,
  name: string,
  work: (isOver: () => void) => Promise<void>,
): Promise<readonly Sent[]> {
  const state = { isOver: false }
  const end = (): void => {
    state.isOver = true
  }
  const from = stage.sender.sent.length
  const working = work(end).finally(end)
  const sending: Promise<void>[] = []
  for (let i = 0; !state.isOver; i++) {
    const ref = `${name}-${i}`
    const delivery = {
      id: `evt-${ref}`,
      kind: 'one',
      ref,
      customer: ref,
      point: 'drill',
      once: false,
      copies: 0,
    } as const
    sending.push(stage.sender.send([[delivery]], 1))
    await pause(systemClock, SECOND / OTHERS_PER_SECOND, { keepAlive: true })
  }
  await Promise.all([...sending, working])
  return stage.sender.sent.slice(from)
}

const pauseFor = (seconds: number): Promise<void> => pause(systemClock, seconds * SECOND, { keepAlive: true })

/** Every run of the rogue has come as far as it can by itself. */
async function settledAs(stage: Stage, asked: readonly Asked[], limitMs: number): Promise<void> {
  await until(limitMs, async () => {
    await pause(systemClock, 200, { keepAlive: true })
    const rows = await stage.ask<{ many: number }>(
      `select count(*)::int as many from runs r where r.flow = 'rogue' and (r.state in ('succeeded', 'dead_lettered', 'held')
         or exists (select 1 from quarantine q where q.tenant = r.tenant and q.run_id = r.id and q.state = 'quarantined'))`,
    )
    return (rows?.[0]?.many ?? 0) >= asked.length
  })
}

async function unfinishedOf(stage: Stage): Promise<number> {
  const rows = await stage.ask<{ many: number }>(
    `select count(*)::int as many from runs where flow = 'rogue' and state not in ('succeeded', 'held')`,
  )
  return rows?.[0]?.many ?? Number.NaN
}

/** Until somebody was told of anything that names the rogue. */
async function toldAfter(stage: Stage, rogue: Rogue): Promise<number | undefined> {
  const since = rogue.firstAt() ?? 0
  const told = () =>
    stage.sink.told.find(({ as, what, at }) => as === 'opened' && at >= since && /rogue/.test(what))
  await until(ALERTED_WITHIN_MS, () => told() !== undefined)
  const first = told()
  return first && Math.round(first.at - since)
}

interface FirstAttempt {
  readonly state: string
  readonly code: string
}

/** What the first attempt at the call of each delivery came to, by its event's id. */
async function firstAttempts(stage: Stage): Promise<ReadonlyMap<string, FirstAttempt>> {
  const rows = await stage.ask<FirstAttempt & { event: string }>(
    `select e.provider_event_id as event, coalesce(a.state, '') as state, coalesce(a.code, '') as code
     from attempts a join runs r on r.tenant = a.tenant and r.id = a.run_id
     join events e on e.tenant = r.tenant and e.id = r.event_id where r.flow = 'rogue' and a.number = 1`,
  )
  return new Map(rows?.map(({ event, ...attempt }) => [event, attempt]))
}

const STATES: Readonly<Record<HostileAnswer['means'], readonly string[]>> = {
  refused: ['failed'],
  doubt: [],
  kept_back: ['quarantined'],
  taken: ['succeeded'],
  taken_or_kept_back: ['succeeded', 'quarantined'],
}

/** Answers of which something else was made than there is to make of them. Doubt is never wrong: a machine may be slow. */
function misreadOf(
  asked: readonly Asked[],
  first: ReadonlyMap<string, FirstAttempt>,
  answers: readonly HostileAnswer[],
): string[] {
  return asked.flatMap(({ of, form, how }) => {
    const { name, means } = answers[form]!
    const attempt = first.get(of.id)
    // Attempts at what is not asked about are written down where they failed; success is in the journal alone.
    if (attempt === undefined)
      return means === 'taken' || means === 'taken_or_kept_back' ? [] : [`"${name}" (${how}): no attempt`]
    const { state, code } = attempt
    if (state === 'in_doubt' || NOT_SENT.has(code) || STATES[means].includes(state)) return []
    return [`"${name}" (${how}) was taken for ${state} (${code}), and means ${means}`]
  })
}
const NOT_SENT: ReadonlySet<string> = new Set(['connect_timeout', 'connect_refused'])

/** What went through event, journal and call, and did not come out as it went in. */
function changedOf(asked: readonly Asked[], { received }: Rogue): string[] {
  return asked.flatMap(({ of, extra }) => {
    const came = received.get(`${of.ref}/1`)
    const went = encodeJson(parseJson(extra))
    return came === undefined || came === went ? [] : [`${went.slice(0, 80)} came as ${came.slice(0, 80)}`]
  })
}

/** Milliseconds from the acknowledgement to the effect. */
function timesOf({ witness }: Stage, sent: readonly Sent[]): readonly number[] {
  return sent
    .flatMap(({ acknowledgedAt, ...delivery }) => {
      const done = witness.firstAt(effectsOf(delivery)[0]!)
      return done === undefined || acknowledgedAt === undefined ? [] : [done - acknowledgedAt]
    })
    .sort((a, b) => a - b)
}

const at = (times: readonly number[], share: number): number =>
  times[Math.max(0, Math.ceil(times.length * share) - 1)] ?? 0
const p99 = (times: readonly number[]): number => Math.max(1, at(times, 0.99))

const words = (counts: Readonly<Record<string, number>>): string =>
  Object.entries(counts)
    .map(([what, many]) => `${what}: ${many}`)
    .join(', ')

/** The most memory that the process ever held, from /proc; the whole of it, resident. */
function mostMemoryMb(pid: number): number {
  const kib = /^VmHWM:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]
  return Math.round(Number(kib) / 1024)
}
