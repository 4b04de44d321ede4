import { pause, SECOND, systemClock } from '../../src/base/index.ts'
import type { Kind } from '../crash/connector.ts'
import { figuresOf, watchRescues, type Rescues } from '../crash/campaign.ts'
import { effectsOf } from '../crash/flows.ts'
import type { Delivery } from '../crash/load.ts'
import { until } from '../crash/underLoad.ts'
import { inWords, type Drill, type DrillOptions, type DrillReport } from './drill.ts'
import { onStage, type Stage } from './stage.ts'

/** How the call can be told from a second one, the kind of delivery that makes it, and at which answer the node dies. */
const CALLS: readonly { readonly how: string; readonly kind: Kind; readonly answer: number }[] = [
  { how: 'key', kind: 'one', answer: 1 },
  { how: 'look-up', kind: 'two', answer: 2 },
  { how: 'neither', kind: 'none', answer: 1 },
]
/** The other node may take deliveries before the one that is to die does. */
const MOST_TRIES = 30
const MOST_TRIALS = 200
const SETTLED_WITHIN_MS = 40 * SECOND
const ALERTED_WITHIN_MS = 60 * SECOND
/** For each kind, however short the drill is. */
const FEWEST_DEATHS = 5

export const nodeDies: Drill = {
  number: '3',
  title: 'a node is killed after its call left and the provider acted, before that is written down',
  run: (options) => onStage(options, (stage) => play(stage, options)),
  controls: [
    { sabotage: 'hides_begun_attempts', notices: ({ twice }) => twice > 0 },
    { sabotage: 'sends_without_key', notices: ({ twice }) => twice > 0 },
  ],
}

/** A delivery whose call was under way when its node died. */
interface Caught {
  readonly how: string
  readonly id: string
  readonly diedAt: number
  doneMs?: number
}

async function play(stage: Stage, options: DrillOptions): Promise<DrillReport> {
  const { seconds, seed, onProgress } = options
  await stage.startNode('steady', { roles: ['worker'] })
  const caught: Caught[] = []
  const rescues = watchRescues({ ask: stage.ask, outages: [] })
  const followed: Promise<void>[] = []
  const began = systemClock.monotonic()
  const countOf = (how: string): number => caught.filter((one) => one.how === how).length
  const isOver = (): boolean =>
    systemClock.monotonic() - began > seconds * SECOND &&
    CALLS.every(({ how }) => countOf(how) >= FEWEST_DEATHS)
  for (let trial = 1; trial <= MOST_TRIALS && !isOver(); trial++) {
    const call = CALLS[trial % CALLS.length]!
    const one = await killAtAnswer(stage, rescues, call, `${seed}-${call.kind}-${trial}`)
    if (one === undefined) continue
    caught.push(one)
    followed.push(follow(stage, one))
    onProgress(`${caught.length} nodes killed, last with ${call.how}`)
  }
  await Promise.all([...followed, rescues.settled()])
  await stage.settled(SETTLED_WITHIN_MS)

  const firstHeld = Math.min(...caught.filter(({ how }) => how === 'neither').map(({ diedAt }) => diedAt))
  await until(ALERTED_WITHIN_MS, () => stage.sink.afterMs('held_runs', firstHeld) !== undefined)
  const alertedMs = stage.sink.afterMs('held_runs', firstHeld)
  const judged = await stage.judged()
  const held = new Set(await heldIds(stage))
  const notHeld = caught.filter(({ how, id }) => how === 'neither' && !held.has(id))
  const heldThough = caught.filter(({ how, id }) => how !== 'neither' && held.has(id))
  const neverSettled = caught.filter(({ doneMs }) => doneMs === undefined)
  const settledMs = Math.round(Math.max(0, ...caught.map(({ doneMs }) => doneMs ?? 0)))
  return {
    ...judged,
    drill: '3',
    scale: `${caught.length} deaths`,
    // The effect of each is there: only nobody knows it. So the invariant, which asks for effects, sees none of them.
    held: caught.filter(({ id }) => held.has(id)).length,
    recoveredMs: figuresOf(rescues.times()).max,
    alertedMs,
    figures: {
      'killed with a key': countOf('key'),
      'with a look-up': countOf('look-up'),
      'with neither': countOf('neither'),
      'last outcome known after ms': settledMs,
      'of these held': countOf('neither') - notHeld.length,
    },
    broken: [
      ...judged.broken,
      ...notHeld.map(({ id }) => `${id} can neither be asked about nor repeated, and is not held`),
      ...heldThough.map(({ id, how }) => `${id} is held, though the provider knows it by ${how}`),
      ...neverSettled.map(({ id }) => `${id} was not settled within ${SETTLED_WITHIN_MS / SECOND} s`),
      ...CALLS.filter(({ how }) => countOf(how) === 0).map(({ how }) => `with ${how}: no node died there`),
      ...(alertedMs === undefined ? ['nobody was told of what is held'] : []),
      ...inWords(rescues.violations()),
    ],
    late: [
      ...rescues.late(),
      ...((alertedMs ?? 0) > ALERTED_WITHIN_MS ? [`somebody was told after ${alertedMs} ms`] : []),
    ],
  }
}

/**
 * One delivery after another, until the node dies at the answer. Then the POST has left and the provider has acted,
 * which its witness shows, and the journal knows of no outcome.
 */
async function killAtAnswer(
  stage: Stage,
  rescues: Rescues,
  { how, kind, answer }: (typeof CALLS)[number],
  name: string,
): Promise<Caught | undefined> {
  const victim = await stage.startNode('victim', {
    crashAt: { point: 'call.answered', count: answer, how: 'kill' },
  })
  for (let i = 1; i <= MOST_TRIES && !victim.hasEnded(); i++) {
    const delivery = deliveryOf(kind, `${name}-${i}`)
    await stage.sender.send([[delivery]], 1)
    await until(10 * SECOND, () => {
      stage.witness.look()
      return victim.hasEnded() || effectsOf(delivery).every((key) => stage.witness.places.has(key))
    })
    const died = await until(SECOND / 2, victim.hasEnded)
    if (!died) continue
    stage.witness.look()
    const { signal, at } = await victim.ended
    rescues.watch(victim, at, how)
    const acted = stage.witness.places.has(effectsOf(delivery).at(-1)!)
    const wasItsOwn = await isAt(stage, delivery.id, victim.id())
    return signal === 'SIGKILL' && acted && wasItsOwn ? { how, id: delivery.id, diedAt: at } : undefined
  }
  return undefined
}

/** Otherwise the node died at another call: at one of a run that it had taken over from one that died before. */
async function isAt(stage: Stage, eventId: string, node: string): Promise<boolean> {
  const rows = await stage.ask(
    `select 1 from runs r join events e on e.tenant = r.tenant and e.id = r.event_id
     where e.provider_event_id = $1 and r.node_id = $2`,
    [eventId, node],
  )
  return rows?.length === 1
}

/** Until the run of it has ended, or is held. */
async function follow(stage: Stage, one: Caught): Promise<void> {
  const settled = await until(SETTLED_WITHIN_MS, async () => {
    await pause(systemClock, 50, { keepAlive: true })
    const rows = await stage.ask<{ state: string }>(
      `select r.state from runs r join events e on e.tenant = r.tenant and e.id = r.event_id
       where e.provider_event_id = $1`,
      [one.id],
    )
    return rows?.length === 1 && ['succeeded', 'held'].includes(rows[0]!.state)
  })
  if (settled) one.doneMs = systemClock.monotonic() - one.diedAt
}

async function heldIds(stage: Stage): Promise<readonly string[]> {
  const rows = await stage.ask<{ id: string }>(
    `select e.provider_event_id as id from runs r join events e on e.tenant = r.tenant and e.id = r.event_id
     where r.state = 'held'`,
  )
  return rows?.map(({ id }) => id) ?? []
}

function deliveryOf(kind: Kind, ref: string): Delivery {
  return { id: `evt-${ref}`, kind, ref, customer: ref, point: kind, once: false, copies: 0 }
}
