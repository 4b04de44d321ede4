import { SECOND } from '../base/index.ts'
import type { LimitDefinition } from '../define/index.ts'
import { cautious, measured, NO_FOREIGN, refused, relaxed, type Foreign } from './foreign.ts'
import { placesFor } from './places.ts'
import type { Returning } from './returning.ts'
import {
  FORGOTTEN_MS,
  handRound,
  HEARD_NOTHING,
  inUse,
  type Holder,
  type HoldingGrant,
  type HoldingNow,
} from './ring.ts'
import type { Wants } from './shares.ts'
import { added, fullest, gridOf, NO_COUNTS, pruned, sumOf, type Counts, type Grid } from './slots.ts'

/**
 * One limit of one connection, as all nodes share it: what they hold of it, who wants how much, and what the provider
 * has said. Kept where only one node changes it at a time; times are of one clock, in milliseconds.
 */
export interface BudgetState {
  /** Of a long window: what was granted, by slot. */
  readonly granted: Counts
  /** Of a short window: points that no node holds; `undefined`: all, for none was ever granted. */
  readonly pool?: Returning
  readonly nodes: Readonly<Record<string, BudgetNode>>
  /** Nothing is to be sent before this: the provider said so. */
  readonly blockedUntil: number
  /** What the provider says a window allows, where that is not what was declared. */
  readonly stated?: number
  readonly foreign: Foreign
}

/** What is known of a node that uses the budget. */
export interface BudgetNode extends Holder {
  readonly places: number
  readonly placesWanted: number
}

export const NEW_BUDGET: BudgetState = {
  granted: NO_COUNTS,
  nodes: {},
  blockedUntil: 0,
  foreign: NO_FOREIGN,
}

/** What a node tells and asks. */
export interface BudgetAsk {
  readonly node: string
  /** Points in a second that it had calls for lately, by priority. */
  readonly wants: Wants
  /** Points of calls that wait now for want of them. */
  readonly waiting: Wants
  /** Points of the dearest call: fewer at once are of no use. At least 1. */
  readonly unit: number
  /** Of a short window: what it holds. */
  readonly holding: HoldingNow
  /** Of a long window: points that it holds and may still use. */
  readonly held: number
  /** Of a long window: points that it was granted and gives back, by slot. */
  readonly unused: readonly (readonly [slot: number, points: number])[]
  readonly places: { readonly inFlight: number; readonly wanted: number }
  /** What the provider said last, and how many milliseconds ago. */
  readonly seen?: {
    readonly allowed?: number
    readonly remaining?: number
    /** What this node itself had used of the window then. */
    readonly ours?: number
    readonly resetInMs?: number
    readonly agoMs: number
  }
  /** The provider refused a call for want of points. */
  readonly refused: boolean
  /** Nothing is to be sent for so long: the provider said so. */
  readonly blockMs: number
}

/** What a node may do until it asks again. */
export interface BudgetGrant {
  /** Of a short window. */
  readonly holding: HoldingGrant
  /** Of a long window: points, and the slots that they count in. */
  readonly slices: readonly { readonly slot: number; readonly points: number }[]
  /** What a window allows, as the provider says or the connector declares. */
  readonly allowed: number
  /** The same less what others take of it. */
  readonly ours: number
  /** What of the window that ends now is used, by all nodes. */
  readonly used: number
  /** Nodes that share it now. */
  readonly nodes: number
  readonly blockedUntil: number
  /** When there may be more, where nothing was granted. */
  readonly freeAt: number
  /** Calls that it may have in flight. */
  readonly places: number
}

/** Places in flight come back to the others when a node has not asked for so long. */
const PLACES_FORGOTTEN_MS = 10 * SECOND
/** The part of a long window that is kept for calls that are not bulk. */
const KEPT_FROM_BULK = 0.02

/** Answers one node's ask. The state that goes in is not changed. */
export function exchange(
  before: BudgetState,
  limit: LimitDefinition,
  ask: BudgetAsk,
  now: number,
): { readonly state: BudgetState; readonly grant: BudgetGrant } {
  const grid = gridOf(limit.windowMs)
  const slot = Math.floor(now / grid.slotMs)
  const learned = learn(takeBack(before, grid, slot, ask), limit, ask, now)
  const allowed = learned.stated ?? limit.allowed
  const ours = oursOf(allowed, learned.foreign, grid)
  const nodes = withNode(learned.nodes, ask, now)
  const round = grid.paced
    ? handRound({ ...asked(ask), pool: learned.pool, nodes, allowed, ours, windowMs: limit.windowMs, now })
    : undefined
  const { nodes: placed, places } = placesFor({ ...(round?.nodes ?? nodes) }, ask, limit.concurrency)
  const { slices, granted } =
    grid.paced || learned.blockedUntil > now
      ? { slices: [], granted: learned.granted }
      : pooled({ grid, slot, ours, granted: learned.granted, ask })
  const state = { ...learned, granted, ...(round && { pool: round.pool }), nodes: placed }
  const freeAt = grid.paced
    ? ringFreeAt(state, ours, limit, now)
    : slotsFreeAt(granted, grid, slot, ours, now)
  return {
    state,
    grant: {
      holding: round?.grant ?? HOLD_NOTHING,
      slices,
      allowed,
      ours,
      used: usedOf(state, limit, now),
      nodes: Math.max(1, sharing(placed, now)),
      blockedUntil: state.blockedUntil,
      freeAt: Math.max(state.blockedUntil, freeAt),
      places,
    },
  }
}

const HOLD_NOTHING: HoldingGrant = { fresh: true, more: [], share: 0, until: 0, answer: HEARD_NOTHING }

function asked({ node, holding }: BudgetAsk): Pick<BudgetAsk, 'node' | 'holding'> {
  return { node, holding }
}

/** Nobody paces what others take by the millisecond: where they take some, this part of a short window is left between. */
const BESIDE_OTHERS = 0.01

/** What of a window is ours. Of a short one a little is left where calls were refused without a reason. */
function oursOf(allowed: number, { amount, slack }: Foreign, { paced }: Grid): number {
  const ours = allowed - amount - (paced && amount > 0 ? allowed * BESIDE_OTHERS : 0)
  return Math.max(1, paced ? Math.round(ours) - Math.ceil(ours * slack - 1e-9) : Math.floor(ours))
}

function sharing(nodes: BudgetState['nodes'], now: number): number {
  return Object.values(nodes).filter((node) => node.at > now - FORGOTTEN_MS).length
}

/** When a node that holds nothing may find something. */
function ringFreeAt(
  { pool, nodes }: BudgetState,
  ours: number,
  { windowMs }: LimitDefinition,
  now: number,
): number {
  const held = Object.values(nodes).reduce((sum, node) => sum + node.holds, 0)
  const soonest = pool?.[0]?.[0]
  if (held < ours && soonest !== undefined) return Math.max(now, soonest)
  return now + Math.min(windowMs, SECOND)
}

function takeBack(state: BudgetState, grid: Grid, slot: number, ask: BudgetAsk): BudgetState {
  let granted = pruned(state.granted, grid, slot)
  for (const [at, points] of ask.unused)
    if (at >= granted.first && at < granted.first + granted.counts.length)
      granted = added(granted, at, -points)
  return { ...state, granted }
}

/** What the provider has said since: that it allows another number, that others take some of it, that we must wait. */
function learn(state: BudgetState, limit: LimitDefinition, ask: BudgetAsk, now: number): BudgetState {
  const grid = gridOf(limit.windowMs)
  const stated = ask.seen?.allowed ?? state.stated
  const allowed = stated ?? limit.allowed
  const context = { allowed, windowMs: limit.windowMs, now }
  let { foreign } = state
  if (ask.seen?.remaining !== undefined) {
    const { remaining, agoMs, resetInMs } = ask.seen
    const ours = grid.paced
      ? (ask.seen.ours ?? ask.holding.used) + usedByOthers(state, ask.node, now)
      : usedBy(state.granted, grid, limit.windowMs, now - agoMs, resetInMs)
    foreign = measured(foreign, { left: remaining, ours }, context)
  }
  // Where the provider says what is left, that tells more than its refusals.
  if (ask.refused && now - foreign.measuredAt <= 2 * limit.windowMs) foreign = cautious(foreign, context)
  else if (ask.refused) {
    const ours = grid.paced
      ? ask.holding.used + usedByOthers(state, ask.node, now)
      : usedBy(state.granted, grid, limit.windowMs, now, undefined)
    foreign = refused(foreign, ours, context)
  }
  return {
    ...state,
    ...(stated === undefined ? {} : { stated }),
    foreign: relaxed(foreign, context),
    blockedUntil: Math.max(state.blockedUntil, ask.blockMs > 0 ? now + ask.blockMs : 0),
  }
}

/** Seconds in which providers write the time to go: of a short window that says nothing. */
const TELLING_RESET_MS = 20 * SECOND

/** What we had used of the provider's window at a time: one that is reset then, or the one that ends then. */
function usedBy(
  granted: Counts,
  grid: Grid,
  windowMs: number,
  at: number,
  resetInMs: number | undefined,
): number {
  const began =
    resetInMs === undefined || windowMs < TELLING_RESET_MS || resetInMs > windowMs
      ? at - windowMs
      : at + resetInMs - windowMs
  return sumOf(granted, Math.ceil(began / grid.slotMs), Math.floor(at / grid.slotMs))
}

/** What the others said that they had used of a short window. */
function usedByOthers({ nodes }: BudgetState, node: string, now: number): number {
  return Object.entries(nodes).reduce(
    (sum, [id, other]) => sum + (id === node || other.at <= now - FORGOTTEN_MS ? 0 : other.used),
    0,
  )
}

function withNode(nodes: BudgetState['nodes'], ask: BudgetAsk, now: number): Record<string, BudgetNode> {
  const kept = Object.entries(nodes).filter(
    ([id, node]) =>
      id !== ask.node &&
      (node.holds > 0 || node.at > now - (node.places > 0 ? PLACES_FORGOTTEN_MS : FORGOTTEN_MS)),
  )
  const known = nodes[ask.node]
  return {
    ...Object.fromEntries(kept),
    [ask.node]: {
      at: now,
      wants: bothOf(ask.wants, ask.waiting),
      unit: ask.unit,
      holds: known?.holds ?? 0,
      until: known?.until ?? 0,
      givenBy: known?.givenBy ?? 0,
      used: ask.holding.used,
      epoch: known?.epoch ?? now,
      answers: known?.answers ?? 0,
      places: known?.places ?? 0,
      placesWanted: ask.places.wanted,
    },
  }
}

/** Who waits wants it within a second. */
function bothOf(wants: Wants, waiting: Wants): Wants {
  return {
    interactive: wants.interactive + waiting.interactive,
    normal: wants.normal + waiting.normal,
    bulk: wants.bulk + waiting.bulk,
  }
}

interface Giving {
  readonly grid: Grid
  readonly slot: number
  readonly ours: number
  readonly granted: Counts
  readonly ask: BudgetAsk
}

interface Given {
  readonly slices: BudgetGrant['slices']
  readonly granted: Counts
}

/** Points of a long window for what is wanted in the next second; only their sum counts. */
function pooled({ grid, slot, ours, granted, ask }: Giving): Given {
  const unit = Math.min(ask.unit, ours)
  const urgent = ask.waiting.interactive + ask.waiting.normal + ask.wants.interactive + ask.wants.normal
  const room = ours - fullest(granted, grid, slot)
  const forUrgent = Math.min(room, Math.max(0, urgent - ask.held))
  const kept = ours >= 50 ? Math.ceil(ours * KEPT_FROM_BULK) : 0
  const bulk = Math.max(0, ask.waiting.bulk + ask.wants.bulk - Math.max(0, ask.held - urgent))
  const forBulk = Math.max(0, Math.min(room - forUrgent - kept, bulk))
  const wanted = Math.max(Math.ceil(forUrgent + forBulk), urgent + bulk > 0 && ask.held < unit ? unit : 0)
  const points = Math.floor(Math.min(wanted, urgent > 0 ? room : room - kept) + 1e-9)
  if (points <= 0) return { slices: [], granted }
  return { slices: [{ slot, points }], granted: added(granted, slot, points) }
}

/** When the window next has room for a point, by what was granted up to now. */
function slotsFreeAt(granted: Counts, grid: Grid, slot: number, ours: number, now: number): number {
  if (fullest(granted, grid, slot) < ours) return now
  for (let at = slot + 1; at <= slot + grid.span; at++)
    if (sumOf(granted, at - grid.span + 1, at) < ours) return at * grid.slotMs
  return (slot + grid.span) * grid.slotMs
}

/** What of the window that ends now is used or granted. */
function usedOf(state: BudgetState, limit: LimitDefinition, now: number): number {
  const grid = gridOf(limit.windowMs)
  return grid.paced
    ? Math.min(state.stated ?? limit.allowed, inUse(state.pool, state.nodes, now))
    : usedBy(pruned(state.granted, grid, Math.floor(now / grid.slotMs)), grid, limit.windowMs, now, undefined)
}

/** What of a limit is used, in the window that ends now. */
export function useOf(
  state: BudgetState,
  limit: LimitDefinition,
  now: number,
): {
  readonly used: number
  readonly allowed: number
  readonly foreign: number
  readonly nodes: number
} {
  const allowed = state.stated ?? limit.allowed
  const foreign = relaxed(state.foreign, { allowed, windowMs: limit.windowMs, now })
  return {
    used: usedOf(state, limit, now),
    allowed,
    foreign: Math.round(foreign.amount),
    nodes: sharing(state.nodes, now),
  }
}
