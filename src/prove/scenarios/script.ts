import { HOUR, seededRandom, SECOND } from '../../base/index.ts'
import type { Config } from '../../define/index.ts'
import type { OwnEvent } from '../ownEvents.ts'
import type { Person, StandIn } from '../standIn.ts'

/** One thing that happens at a provider, at a time. */
export interface ScriptLine {
  /** `'stripe payment_intent.succeeded 1'`: the same fact in every drill. */
  readonly name: string
  readonly connection: string
  readonly type: string
  readonly person: Person
  readonly turn: number
  /** Milliseconds since the beginning. */
  readonly atMs: number
  /** The user's own: the body as the provider sends it, delivered in place of what the stand-in would make happen. */
  readonly body?: Buffer
}

/** Why a flow could not be exercised; flows without a reason are. */
export interface Unexercised {
  readonly flow: string
  readonly trigger: string
  readonly why: string
}

export interface Script {
  readonly lines: readonly ScriptLine[]
  readonly unexercised: readonly Unexercised[]
}

const NAMES = [
  'Ada Lovelace',
  'Alan Turing',
  'Katherine Johnson',
  'Edsger Dijkstra',
  'Radia Perlman',
  'Mary Jackson',
  'Tony Hoare',
  'Frances Allen',
]
const PEOPLE = 2
const APART_MS = SECOND
/** When the waves of a long script begin. The provider goes down after the first few events. */
const WAVES_MS = [0, 20 * HOUR, 60 * HOUR]

/** The people of a proof, chosen by its seed. */
export function peopleOf(seed: string): readonly Person[] {
  const first = Math.floor(seededRandom(`${seed} people`).next() * NAMES.length)
  return Array.from({ length: PEOPLE }, (_, i) => {
    const name = NAMES[(first + i) % NAMES.length]!
    return {
      name,
      email: `${name.toLowerCase().replace(' ', '.')}@example.com`,
      phone: `+155501${String(first + i).padStart(2, '0')}99`,
    }
  })
}

/**
 * What happens at the providers: for every trigger of the flows, each person once; in a long script again after 20 and
 * after 60 hours.
 */
export function writeScript(
  config: Config,
  standIns: ReadonlyMap<string, StandIn>,
  options: {
    readonly seed: string
    readonly long: boolean
    readonly apartMs?: number | undefined
    readonly events: readonly OwnEvent[]
  },
): Script {
  const triggers = new Map<string, { connection: string; type: string }>()
  const unexercised: Unexercised[] = []
  for (const flow of config.flows) {
    const { on } = flow
    const trigger = on.kind === 'event' ? `${on.connector} ${on.type}` : `${on.kind} ${on.type}`
    const found = on.kind === 'event' ? sourceOf(config, standIns, on) : why(on.kind)
    if (on.kind === 'event' && options.events.some((own) => isFor(own, on, config))) continue
    if ('why' in found) unexercised.push({ flow: flow.name, trigger, why: found.why })
    else triggers.set(`${found.connection} ${found.type}`, found)
  }
  const people = peopleOf(options.seed)
  const apartMs = options.apartMs ?? APART_MS
  const lines = (options.long ? WAVES_MS : [0]).flatMap((waveMs, turn) =>
    [...triggers.values()].flatMap(({ connection, type }, i) =>
      people.map((person, j): ScriptLine => ({
        name: `${connection} ${type} ${turn * people.length + j + 1}`,
        connection,
        type,
        person,
        turn,
        atMs: waveMs + (i * people.length + j + 1) * apartMs,
      })),
    ),
  )
  const after = lines.filter(({ turn }) => turn === 0).length
  const own = options.events.map(({ name, connection, type, body }, i): ScriptLine => ({
    name,
    connection,
    type,
    body,
    person: people[0]!,
    turn: 0,
    atMs: (after + i + 1) * apartMs,
  }))
  return { lines: [...lines, ...own], unexercised }
}

function isFor(
  own: OwnEvent,
  on: { readonly connector: string; readonly type: string; readonly connection?: string },
  config: Config,
): boolean {
  return (
    own.type === on.type &&
    config.connections[own.connection]?.connector.name === on.connector &&
    (on.connection ?? own.connection) === own.connection
  )
}

function why(kind: string): { why: string } {
  return {
    why: `It starts on a ${kind === 'cron' ? 'schedule' : 'poll'}, which this form of the proof does not play.`,
  }
}

function sourceOf(
  config: Config,
  standIns: ReadonlyMap<string, StandIn>,
  on: { readonly connector: string; readonly type: string; readonly connection?: string },
): { connection: string; type: string } | { why: string } {
  const names = Object.entries(config.connections)
    .filter(([name, { connector }]) => connector.name === on.connector && (on.connection ?? name) === name)
    .map(([name]) => name)
  const name = names.find((one) => standIns.has(one))
  if (name === undefined)
    return {
      why: `There is no stand-in for "${on.connector}". Give one in trestle.prove.ts.`,
    }
  if (!standIns.get(name)!.happenings[on.type])
    return {
      why: `The stand-in for "${name}" cannot make "${on.type}" happen. Give one that can in trestle.prove.ts.`,
    }
  return { connection: name, type: on.type }
}
