import { join } from 'node:path'
import { pause, SECOND, systemClock } from '../../src/base/index.ts'
import { settle, statesOf } from '../crash/campaign.ts'
import { effectsOf } from '../crash/flows.ts'
import { judge } from '../crash/invariant.ts'
import { errands, type Errand } from '../crash/load.ts'
import type { Sent } from '../crash/sender.ts'
import { openSurroundings, type PlatformNode, type Surroundings } from '../crash/surroundings.ts'
import { endNode } from '../crash/world.ts'
import { openAlertSink, type AlertSink } from './alerts.ts'
import { inWords, type DrillOptions, type DrillReport } from './drill.ts'

/** An answer to the sender. */
interface Answer {
  readonly status: number | undefined
  readonly ms: number
  /** When it came, by the monotonic clock. */
  readonly at: number
}

export interface StageOptions extends DrillOptions {
  /** Folder of the entries of nodes and provider. Default: those of the crash tests. */
  readonly entries?: string
  readonly through?: (databaseUrl: string) => string
  /** See {@link SurroundingsOptions}. */
  readonly nodeEntry?: string
  readonly nodesAlsoGet?: object
}

/** Nodes on one database with a sender and a provider around them, and what the sender was answered. */
export interface Stage extends Surroundings {
  readonly answers: readonly Answer[]
  /** Who is told of incidents. */
  readonly sink: AlertSink
  /** Notes an answer that another sender than the stage's own got. */
  answered(status: number | undefined, ms: number): void
  /** Everything that was sent has its effect or is held, or the time is over. Default: what the stage's sender sent. */
  settled(limitMs: number, sent?: readonly Sent[]): Promise<void>
  /** What the witness has against it. */
  judged(sent?: readonly Sent[]): Promise<Judged>
}

type Judged = Pick<
  DrillReport,
  'n' | 'acknowledged' | 'lost' | 'gone' | 'twice' | 'held' | 'answers' | 'broken'
>

/** Opens it, lets the drill play, and closes it with every node that was started. */
export async function onStage<Result>(
  options: StageOptions,
  play: (stage: Stage) => Promise<Result>,
): Promise<Result> {
  const answers: Answer[] = []
  const answered = (status: number | undefined, ms: number): void =>
    void answers.push({ status, ms, at: systemClock.monotonic() })
  let turn = 0
  const sink = await openAlertSink()
  const around = await openSurroundings({
    ...options,
    alerts: sink.alerts,
    entries: options.entries ?? join(options.compiled, 'crash'),
    // As a load balancer has it: one after another.
    targets: (serving) => (serving.length === 0 ? [] : [serving[++turn % serving.length]!.url()]),
    onAnswer: (status, _code, ms) => answered(status, ms),
  })
  const nodes: PlatformNode[] = []
  const stage: Stage = {
    ...around,
    answers,
    sink,
    answered,
    async startNode(name, over) {
      const node = await around.startNode(name, over)
      nodes.push(node)
      if (node.hasEnded()) throw new Error(`The node ${name} did not start: ${node.said()}`)
      return node
    },
    async settled(limitMs, sent = around.sender.sent) {
      await settle({ ...around, sender: { ...around.sender, sent } }, 0, limitMs)
      // What would happen a second time, happens now at the latest.
      await pause(systemClock, SECOND, { keepAlive: true })
    },
    judged: (sent = around.sender.sent) => judgedOf(around, sent, answers),
  }
  try {
    return await play(stage)
  } finally {
    await Promise.all(nodes.map((node) => endNode(node)))
    await around.close()
    sink.close()
  }
}

/** What the states of a delivery say where the database has never heard of it. */
const NO_SUCH_EVENT = 'there is no such event in the database'

async function judgedOf(
  around: Surroundings,
  sent: readonly Sent[],
  answers: readonly Answer[],
): Promise<Judged> {
  around.witness.look()
  const { places } = around.witness
  const doubtful = sent.filter((delivery) => effectsOf(delivery).some((key) => !places.has(key)))
  const states = await statesOf(
    around,
    doubtful.map(({ id }) => id),
  )
  const { violations, heldForPeople } = judge({
    sent,
    places,
    stateOf: (id) => states.get(id) ?? NO_SUCH_EVENT,
  })
  const count = (kind: string): number => violations.filter(({ as }) => as === kind).length
  return {
    n: sent.length,
    acknowledged: sent.filter(({ acknowledgedAt }) => acknowledgedAt !== undefined).length,
    lost: count('lost'),
    gone: violations.filter(({ as, what }) => as === 'lost' && what.endsWith(NO_SUCH_EVENT)).length,
    twice: count('doubled'),
    held: heldForPeople,
    answers: countedBy(answers.map(({ status }) => String(status ?? 'none'))),
    broken: inWords(violations),
  }
}

export function countedBy(keys: readonly string[]): Record<string, number> {
  const counts: Record<string, number> = {}
  for (const key of [...keys].sort()) counts[key] = (counts[key] ?? 0) + 1
  return counts
}

const WAVE_MS = SECOND / 4

/** Mixed deliveries at that rate; the next ones wait until those before were acknowledged, as a sender's queue does. */
export async function sendMixed(
  stage: Stage,
  {
    seed,
    perSecond,
    until,
  }: { readonly seed: string; readonly perSecond: number; readonly until: () => boolean },
): Promise<void> {
  const source = errands(seed, 'drill')
  while (!until())
    await Promise.all([
      pause(systemClock, WAVE_MS, { keepAlive: true }),
      stage.sender.send(take(source, (perSecond * WAVE_MS) / SECOND), 64),
    ])
}

function* take(source: Generator<Errand, never>, deliveries: number): Generator<Errand, void> {
  for (let taken = 0; taken < deliveries;) {
    const errand = source.next().value
    taken += errand.length
    yield errand
  }
}
