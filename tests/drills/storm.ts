import { join } from 'node:path'
import { SECOND, seededRandom, systemClock, type Random } from '../../src/base/index.ts'
import { signatureSchemes } from '../../src/define/index.ts'
import type { Sent } from '../crash/sender.ts'
import { SHOP_ID_HEADER } from './connectors.ts'
import { settleMs, type Drill, type DrillOptions, type DrillReport } from './drill.ts'
import { postAll, type Posted } from './posting.ts'
import { onStage, type Stage } from './stage.ts'

const MOST_COPIES = 17
/** Of the copies, as many come as a delivery of their own: the same body, another delivery id. */
const NEW_ID = 0.4
const EVENTS_AT_ONCE = 60
const AT_ONCE = 12
const ACK_P999_WITHIN_MS = SECOND

export const storm: Drill = {
  number: '7',
  title: 'each event comes 1 to 17 times, in any order, some under a new delivery id',
  run: (options) =>
    onStage({ ...options, entries: join(options.compiled, 'drills') }, (stage) => play(stage, options)),
  controls: [{ sabotage: 'forgets_deliveries', notices: ({ twice }) => twice > 0 }],
}

interface Storm {
  readonly sent: Sent[]
  posts: number
  newIds: number
  unsignedNewIds: number
}

async function play(stage: Stage, options: DrillOptions): Promise<DrillReport> {
  const { seconds, seed, folder, onProgress } = options
  await stage.startNode('first')
  await stage.startNode('second')
  const counted: Storm = { sent: [], posts: 0, newIds: 0, unsignedNewIds: 0 }
  const until = systemClock.monotonic() + seconds * SECOND
  await postAll(
    stage,
    folder,
    copies(seed, counted, () => systemClock.monotonic() > until),
    AT_ONCE,
  )
  onProgress(`${counted.posts} deliveries of ${counted.sent.length} events`)
  await stage.settled(settleMs(options, 60 * SECOND), counted.sent)

  const judged = await stage.judged(counted.sent)
  const times = stage.answers.filter(({ status }) => status === 200).map(({ ms }) => ms)
  times.sort((a, b) => a - b)
  const p999 = Math.round(times[Math.ceil(times.length * 0.999) - 1] ?? 0)
  const refused = Object.keys(judged.answers).filter((status) => status.startsWith('4'))
  return {
    ...judged,
    drill: '7',
    scale: `${seconds} s; n counts events, each of 1 to ${MOST_COPIES} deliveries`,
    recoveredMs: undefined,
    alertedMs: undefined,
    figures: {
      deliveries: counted.posts,
      'under a new id': counted.newIds,
      'of these with an id that is not signed': counted.unsignedNewIds,
      'ack p50 ms': Math.round(times[Math.floor(times.length / 2)] ?? 0),
      'ack p99.9 ms': p999,
    },
    broken: [
      ...judged.broken,
      ...(counted.newIds === 0 ? ['no delivery came under a new id'] : []),
      ...refused.map((status) => `${judged.answers[status]} answers were ${status}`),
      ...(judged.acknowledged < judged.n
        ? [`${judged.n - judged.acknowledged} were never acknowledged`]
        : []),
    ],
    late: p999 > ACK_P999_WITHIN_MS ? [`p99.9 of the acknowledgements is ${p999} ms`] : [],
  }
}

/** All copies of some events in any order, then those of the next ones. */
function* copies(seed: string, counted: Storm, isOver: () => boolean): Generator<Posted, void> {
  const random = seededRandom(`${seed} storm`)
  for (let event = 1; !isOver();) {
    const posts: Posted[] = []
    for (const last = event + EVENTS_AT_ONCE; event < last; event++) {
      const of = sentOf(`${seed}-${event}`)
      counted.sent.push(of)
      const many = 1 + Math.floor(random.next() * MOST_COPIES)
      for (let copy = 0; copy < many; copy++) posts.push(postOf(of, event % 2 === 0, copy, random, counted))
    }
    counted.posts += posts.length
    yield* shuffled(posts, random)
  }
}

function postOf(of: Sent, fromShop: boolean, copy: number, random: Random, counted: Storm): Posted {
  const isNew = copy > 0 && random.next() < NEW_ID
  if (isNew) counted.newIds++
  if (isNew && fromShop) counted.unsignedNewIds++
  const id = isNew ? `${of.id}-again-${copy}` : of.id
  const data = { ref: of.ref, customer: of.customer }
  if (!fromShop)
    return {
      of,
      id,
      path: '/webhooks/acme',
      scheme: signatureSchemes.standardWebhooks,
      body: JSON.stringify({ id: of.id, type: of.kind, data }),
    }
  return {
    of,
    id,
    path: '/webhooks/shop',
    scheme: signatureSchemes.shopify,
    body: JSON.stringify({ data }),
    headers: { [SHOP_ID_HEADER]: id },
  }
}

export function sentOf(ref: string): Sent {
  const delivery = { id: `evt-${ref}`, kind: 'one', ref, customer: ref, point: 'drill' } as const
  return { ...delivery, once: false, copies: 0, acknowledgedAt: undefined, attempts: 0 }
}

function shuffled<T>(list: readonly T[], random: Random): readonly T[] {
  const mixed = [...list]
  for (let i = mixed.length - 1; i > 0; i--) {
    const j = Math.floor(random.next() * (i + 1))
    ;[mixed[i], mixed[j]] = [mixed[j]!, mixed[i]!]
  }
  return mixed
}
