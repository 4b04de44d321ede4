import { createHash } from 'node:crypto'
import { DAY, HOUR, MINUTE } from '../../base/index.ts'
import type { Config } from '../../define/index.ts'
import type { Laboratory } from '../laboratory.ts'
import { signPayload } from '../../webhooks/index.ts'
import type { OwnEvent } from '../ownEvents.ts'
import type { Mail } from '../simulation/postOffice.ts'
import type { Standing } from '../simulation/readings.ts'
import { SimulatedClock } from '../simulation/simulatedClock.ts'
import {
  Simulation,
  type Interference,
  type SimulationOptions,
  type Ticket,
} from '../simulation/simulation.ts'
import type { CreateStandIn, StandIn } from '../standIn.ts'
import type { Drill } from './drill.ts'
import { readHistory, type History } from './history.ts'
import { poisonedMail } from './poison.ts'
import { peopleOf, writeScript, type Script, type ScriptLine } from './script.ts'

/** A Monday morning. Every simulation begins at it. */
export const START_MS = Date.UTC(2026, 0, 5, 9)
/** How long a simulation goes on after the last thing that happened, for what waits. */
const PATIENCE_MS = 30 * DAY
/** Where nothing is under way or due for this long, nothing will come of what is open. */
const STUCK_MS = 6 * HOUR
/** And then, to see that nothing comes after. */
const AFTER_MS = 10 * MINUTE

export interface Stage {
  readonly config: Config
  readonly makers: ReadonlyMap<string, CreateStandIn>
  readonly laboratory: Laboratory
  readonly seed: string
  readonly events: readonly OwnEvent[]
  readonly version: string
  readonly checkStopped: () => void
  readonly nodeOptions?: SimulationOptions['nodeOptions'] | undefined
}

export interface Played {
  readonly history: History
  readonly script: Script
  /** Connections that were called, in the configuration's order. */
  readonly called: readonly string[]
  /** What was poisoned: names of script lines, with the field that was taken out. */
  readonly poisoned: ReadonlyMap<string, string>
  /** Faults of the twins themselves: the proof is worth nothing then. */
  readonly twinErrors: readonly string[]
}

/** Plays one drill on twins, a database and nodes of its own, from the beginning to rest. */
export async function play(
  stage: Stage,
  drill: Pick<Drill, 'kind' | 'long' | 'apartMs' | 'outage' | 'postage' | 'connection'>,
  interference?: (nameOf: (ticket: Ticket) => string) => Interference,
): Promise<Played> {
  const { config, laboratory, seed } = stage
  const clock = new SimulatedClock(START_MS)
  const standIns = await makeStandIns(stage, clock)
  const database = await laboratory.freshDatabase()
  const nameOf = (ticket: Ticket): string => simulation.nameOf(ticket.run)
  const simulation: Simulation = new Simulation({
    ...stage,
    clock,
    standIns,
    database,
    folder: await laboratory.freshFolder(),
    masterKey: masterKeyOf(seed),
    ...(interference && { interference: interference(nameOf) }),
  })
  const poisoned = new Map<string, string>()
  const waiting: { atMs: number; open: number }[] = []
  try {
    await simulation.start()
    const script = writeScript(config, standIns, {
      seed,
      long: drill.long,
      apartMs: drill.apartMs,
      events: stage.events,
    })
    simulation.post.use({
      ...drill.postage,
      ...(drill.kind === 'poison_event' && {
        alter: poisoner(stage, simulation, standIns, script, poisoned),
      }),
    })
    let stuckSinceMs = 0
    const sample = (open: number): void => {
      if (waiting.at(-1)?.open !== open) waiting.push({ atMs: clock.elapsed, open })
    }
    const runTo = async (untilMs: number, endEarly: boolean): Promise<void> =>
      simulation.runTo(untilMs, (standing) => {
        sample(standing.open)
        if (isUnderWay(standing)) stuckSinceMs = clock.elapsed
        return endEarly && (standing.open === 0 || clock.elapsed - stuckSinceMs > STUCK_MS)
      })
    for (const moment of momentsOf(script, drill, config)) {
      await runTo(moment.atMs, false)
      await moment.act(simulation, standIns)
      await simulation.work()
    }
    if (drill.postage?.held) await simulation.post.release()
    await runTo(clock.elapsed + PATIENCE_MS, true)
    await simulation.reviveTheDead()
    await runTo(clock.elapsed + AFTER_MS, false)
    return {
      history: await readHistory(simulation, database, standIns, waiting),
      script,
      called: [...standIns.keys()].filter((name) => simulation.callsTo(name) > 0),
      poisoned,
      twinErrors: [...standIns.values()].flatMap(({ twin }) => twin.ownErrors()),
    }
  } finally {
    await simulation.stop()
    await database.drop()
  }
}

/** Whether anything will go on without a person. */
function isUnderWay({ claimed, claimable, overdue, dueAt, nextProbe }: Standing): boolean {
  return claimed + claimable + overdue > 0 || dueAt !== undefined || nextProbe !== undefined
}

async function makeStandIns(stage: Stage, clock: SimulatedClock): Promise<ReadonlyMap<string, StandIn>> {
  const standIns = new Map<string, StandIn>()
  try {
    for (const [name, create] of stage.makers) {
      const standIn = await create({ clock: clock.view('providers'), seed: `${stage.seed} ${name}` })
      standIns.set(name, standIn)
      await standIn.know?.(peopleOf(stage.seed))
    }
  } catch (error) {
    await Promise.allSettled([...standIns.values()].map(({ twin }) => twin.stop()))
    throw error
  }
  return standIns
}

interface Moment {
  readonly atMs: number
  act(simulation: Simulation, standIns: ReadonlyMap<string, StandIn>): Promise<void>
}

/** Everything that is done from outside, in order. */
function momentsOf(
  script: Script,
  { outage, connection }: Pick<Drill, 'outage' | 'connection'>,
  config: Config,
): Moment[] {
  const moments: Moment[] = script.lines.map((line) => ({
    atMs: line.atMs,
    async act(simulation, standIns) {
      simulation.post.label(line.name)
      const standIn = standIns.get(line.connection)!
      if (line.body) await simulation.post.send(signedMail(line, line.body, simulation, config, standIn))
      else await standIn.happenings[line.type]!(line.person, line.turn)
      await simulation.settleMail()
      simulation.post.label(undefined)
    },
  }))
  if (outage && connection !== undefined) {
    const turn =
      (down: boolean): Moment['act'] =>
      async (_, standIns) =>
        standIns.get(connection)!.twin.faults.down(down)
    moments.push({ atMs: outage.fromMs, act: turn(true) }, { atMs: outage.toMs, act: turn(false) })
  }
  return moments.sort((a, b) => a.atMs - b.atMs)
}

/** A webhook of the user's own, as the provider would send it now. */
function signedMail(
  { connection: name, name: happening }: ScriptLine,
  body: Buffer,
  { post, clock }: Simulation,
  config: Config,
  { connection }: StandIn,
): Pick<Mail, 'happening' | 'target' | 'headers' | 'body'> {
  const { connector, endpoint } = config.connections[name]!
  const target = `/webhooks/${endpoint ?? name}`
  const signature = connector.webhooks?.signature ?? 'none'
  const { headers, url } =
    signature === 'none'
      ? { url: post.url + target, headers: { 'content-type': 'application/json' } }
      : signPayload(
          signature,
          {
            url: post.url + target,
            body,
            at: clock.now(),
            id: `msg_${createHash('sha256').update(happening).digest('hex').slice(0, 24)}`,
          },
          textsOf(connection.webhookSecrets),
        )
  return { happening, target: url.slice(post.url.length), headers, body }
}

function textsOf(secrets: StandIn['connection']['webhookSecrets']): string[] {
  return (secrets ?? []).filter((secret) => typeof secret === 'string')
}

/** Takes a needed field out of the first webhook of each kind. */
function poisoner(
  { config }: Stage,
  simulation: Simulation,
  standIns: ReadonlyMap<string, StandIn>,
  script: Script,
  poisoned: Map<string, string>,
) {
  const done = new Set<string>()
  return (mail: Parameters<NonNullable<NonNullable<Drill['postage']>['alter']>>[0]) => {
    const line = script.lines.find(({ name }) => name === mail.happening)
    if (!line || done.has(`${line.connection} ${line.type}`)) return undefined
    const { connection } = standIns.get(line.connection)!
    const made = poisonedMail(mail, config.connections[line.connection]!.connector, {
      type: line.type,
      secrets: textsOf(connection.webhookSecrets),
      settings: connection.settings ?? {},
      publicUrl: simulation.post.url,
      at: simulation.clock.now(),
    })
    if (!made) return undefined
    done.add(`${line.connection} ${line.type}`)
    poisoned.set(line.name, made.path)
    return made.mail
  }
}

/** 32 bytes that are no secret: nothing secret is sealed with them. */
function masterKeyOf(seed: string): string {
  return Buffer.from(
    Array.from({ length: 32 }, (_, i) => (seed.charCodeAt(i % seed.length) + i * 7) % 256),
  ).toString('base64')
}
