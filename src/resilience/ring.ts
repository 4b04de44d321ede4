import { SECOND } from '../base/index.ts'
import { latest, pointsIn, soonest, together, type Returning } from './returning.ts'
import { partsOf, type Wants } from './shares.ts'

/**
 * A limit of a short window, as a fixed number of points: as many as a window allows. Each is held by one node or lies
 * in the pool. It is used, and comes back a window later; so no window, wherever it begins, holds it twice. A node that
 * has its share needs nobody to go on: it asks to keep it, to have more, and to hand back what is not its own any more.
 */
export interface Holder {
  /** When it last asked. */
  readonly at: number
  /** Points that it has calls for, in a second. */
  readonly wants: Wants
  /** Points of its dearest call: fewer are of no use to it. */
  readonly unit: number
  readonly holds: number
  /** It uses what it holds until then, unless it asks again. */
  readonly until: number
  /** When the last of what it was given comes back from whoever had used it. */
  readonly givenBy: number
  /** What it had used of the window that ended when it asked. */
  readonly used: number
  /** When what it holds began, by our clock: a lapse, or a word from us that all is void, begins it anew. */
  readonly epoch: number
  /** Of the answers that it was given within it. */
  readonly answers: number
}

/** What a node says of the points that it holds. */
export interface HoldingNow {
  readonly points: number
  /** Those that it hands back: the authority takes as many as it does not know of yet. */
  readonly back: Returning
  /** The last answer that it heard. */
  readonly heard: Heard
  /** What it used of the window that ends now. */
  readonly used: number
}

/** Which answer: one that was lost shows in what the node says next. */
export interface Heard {
  readonly epoch: number
  readonly answers: number
}

export const HEARD_NOTHING: Heard = { epoch: 0, answers: 0 }

export const HOLDS_NOTHING: HoldingNow = { points: 0, back: [], heard: HEARD_NOTHING, used: 0 }

/** What a node is told of the points that it holds. */
export interface HoldingGrant {
  /** What it held before is void: its time passed before it asked. */
  readonly fresh: boolean
  readonly more: Returning
  /** What it holds beyond this is to be handed back. */
  readonly share: number
  readonly until: number
  /** Which answer this is. */
  readonly answer: Heard
}

/** What a node holds is its own for so long, without a word from it. */
const HELD_FOR_MS = 1.5 * SECOND
/** A call that left just before its node fell silent may be counted by the provider so much later. */
const LATE_MS = SECOND
/** Who shares no longer: who has not asked for so long. */
export const FORGOTTEN_MS = 2 * SECOND
/** A share that shrinks by less than this part is left alone: points on their way are of use to nobody. */
const LEFT_ALONE = 0.05
/** Points that cannot be shared evenly, and calls too dear for an even share, go round in this time. */
const TURN_MS = 10 * SECOND

interface Asked<Node extends Holder> {
  readonly pool: Returning | undefined
  /** Of all nodes; the one that asks with what it says now, but for what it held and until when. */
  readonly nodes: Readonly<Record<string, Node>>
  readonly node: string
  readonly holding: HoldingNow
  /** Points that a window allows, and how many of them are ours. */
  readonly allowed: number
  readonly ours: number
  readonly windowMs: number
  readonly now: number
}

/** Takes in what a node hands back, and gives it its share. */
export function handRound<Node extends Holder>(
  asked: Asked<Node>,
): {
  readonly pool: Returning
  readonly nodes: Readonly<Record<string, Node>>
  readonly grant: HoldingGrant
} {
  const { allowed, ours, windowMs, now, holding } = asked
  const lapsed = withoutLapsed(asked)
  const known = lapsed.nodes[asked.node]!
  const fresh = holding.points > 0 && (holding.heard.epoch !== known.epoch || known.holds < holding.points)
  const holds = fresh ? 0 : holding.points
  // Who has heard nothing may have forgotten what it was given, and used it.
  const isSurelyUnused = !fresh && hasHeard(holding)
  const back: Returning = !isSurelyUnused
    ? [[known.until + windowMs + LATE_MS, known.holds]]
    : handedBack(holding, known, known.holds - holds, now)
  const nodes = { ...lapsed.nodes, [asked.node]: { ...known, holds } }
  const heldByAll = Object.values(nodes).reduce((sum, node) => sum + node.holds, 0)
  const pool = complete(
    together(lapsed.pool, back, { stepMs: stepOf(windowMs), now }),
    allowed - heldByAll,
    now + windowMs,
  )

  const target = shareOf(asked, nodes)
  const { taken, left } = soonest(pool, Math.max(0, Math.min(target - holds, ours - heldByAll)))
  const shrinksLittle = heldByAll <= ours && target > 0 && holds - target <= holds * LEFT_ALONE
  const share = Math.max(target, shrinksLittle ? holds : 0)
  const until = now + HELD_FOR_MS
  const givenBy = Math.max(known.givenBy, ...taken.map(([at]) => at))
  const answer = fresh
    ? { epoch: nextEpoch(known, now), answers: 1 }
    : { epoch: known.epoch, answers: known.answers + 1 }
  return {
    pool: left,
    nodes: {
      ...nodes,
      [asked.node]: { ...known, ...answer, holds: holds + pointsIn(taken), until, givenBy },
    },
    grant: { fresh, more: taken, share, until, answer },
  }
}

function stepOf(windowMs: number): number {
  return Math.max(1, windowMs / 100)
}

/**
 * What those held whose time has passed comes back when the last that they may have used it for is out of every window.
 * The one that asks knows better what it used, where it knows that its time has passed.
 */
function withoutLapsed<Node extends Holder>(
  asked: Asked<Node>,
): {
  readonly pool: Returning
  readonly nodes: Readonly<Record<string, Node>>
} {
  const { pool, nodes, allowed, windowMs, now } = asked
  let after: Returning = pool ?? [[now, allowed]]
  const kept: Record<string, Node> = {}
  for (const [id, node] of Object.entries(nodes)) {
    const knows = id === asked.node && asked.holding.points === 0 && hasHeard(asked.holding)
    const isOver = node.holds > 0 && node.until <= now && !knows
    if (isOver) after = [...after, [node.until + windowMs + LATE_MS, node.holds]]
    kept[id] = isOver ? { ...node, holds: 0, epoch: nextEpoch(node, now), answers: 0 } : node
  }
  return { pool: after, nodes: kept }
}

function hasHeard({ heard }: HoldingNow): boolean {
  return heard.epoch !== HEARD_NOTHING.epoch
}

function nextEpoch({ epoch }: Heard, now: number): number {
  return Math.max(epoch + 1, now)
}

/**
 * So many points come back. Where an answer of ours was lost, what the node hands back may be what was taken in before
 * that answer, and what comes back now the points that it gave: then all of it counts as the latest of both.
 */
function handedBack({ back, heard }: HoldingNow, known: Holder, points: number, now: number): Returning {
  const givenBy = Math.max(now, known.givenBy)
  // Of what it held before a lapse everything was taken in then.
  if (heard.epoch !== known.epoch) return [[givenBy, points]]
  if (heard.answers !== known.answers) return [[Math.max(givenBy, ...back.map(([at]) => at)), points]]
  const told = latest(back, Math.min(points, pointsIn(back)))
  return [...told, [givenBy, points - pointsIn(told)]]
}

/** The pool with as many points as belong in it: the provider may have said another number. */
function complete(pool: Returning, points: number, newAt: number): Returning {
  const there = pointsIn(pool)
  if (there < points) return [...pool, [newAt, points - there] as const].sort(([a], [b]) => a - b)
  return there > points ? latest(pool, Math.max(0, points)) : pool
}

function shareOf<Node extends Holder>(asked: Asked<Node>, nodes: Readonly<Record<string, Node>>): number {
  const { ours, windowMs, now } = asked
  const sharing = Object.keys(nodes)
    .filter((id) => nodes[id]!.at > now - FORGOTTEN_MS && wantsAny(nodes[id]!.wants))
    .sort()
  const at = sharing.indexOf(asked.node)
  if (at === -1) return 0
  const turn = Math.floor(now / Math.max(2 * windowMs, TURN_MS))
  return partsOf(
    ours,
    sharing.map((id) => nodes[id]!),
    windowMs,
    turn,
  )[at]!
}

function wantsAny({ interactive, normal, bulk }: Wants): boolean {
  return interactive + normal + bulk > 0
}

/** Points in use or not back yet, by all nodes. */
export function inUse(
  pool: Returning | undefined,
  nodes: Readonly<Record<string, Holder>>,
  now: number,
): number {
  const away = (pool ?? []).reduce((sum, [at, points]) => sum + (at > now ? points : 0), 0)
  return away + Object.values(nodes).reduce((sum, node) => sum + (node.until > now ? node.used : 0), 0)
}
