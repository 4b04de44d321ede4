import { SECOND } from '../base/index.ts'
import type { LimitDefinition, Priority } from '../define/index.ts'
import { cautious, measured, NO_FOREIGN, refused, relaxed, type Foreign } from './foreign.ts'
import { placesFor } from './places.ts'
import { sharesOf, type Wants } from './shares.ts'
import {
  added,
  AHEAD_MS,
  fullest,
  gridOf,
  NO_COUNTS,
  pruned,
  sumOf,
  type Counts,
  type Grid,
} from './slots.ts'

/**
 * One limit of one connection, as all nodes share it: what was granted to them by slot, who wants how much, and what
 * the provider has said. Kept where only one node changes it at a time; times are of one clock, in milliseconds.
 */
export interface BudgetState {
  readonly granted: Counts
  readonly nodes: Readonly<Record<string, BudgetNode>>
  /** Nothing is granted before this: the provider said so. */
  readonly blockedUntil: number
  /** What the provider says a window allows, where that is not what was declared. */
  readonly stated?: number
  readonly foreign: Foreign
}

/** What is known of a node that uses the budget. */
export interface BudgetNode {
  readonly at: number
  /** Points in a second. */
  readonly wants: Wants
  /** The last slot that it was granted for. */
  readonly upTo: number
  /** Points that its pace has earned and that were not granted yet. */
  readonly credit: number
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
  /** Points that it holds and may still use. */
  readonly held: number
  /** Points that it was granted and gives back, by slot. */
  readonly unused: readonly (readonly [slot: number, points: number])[]
  /** The last slot that it keeps its points of: it would rather have those of later ones now. */
  readonly upTo?: number
  readonly places: { readonly inFlight: number; readonly wanted: number }
  /** What the provider said last, and how many milliseconds ago. */
  readonly seen?: {
    readonly allowed?: number
    readonly remaining?: number
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
  /** Points and the slots from which on they may be used. */
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

/** What is granted of a window that is not paced may be used for so long. */
export const HELD_MS = 2 * SECOND
/** A node that has not asked for so long shares no longer. */
const FORGOTTEN_MS = 2 * SECOND
/** Places in flight come back to the others when a node has not asked for so long. */
const PLACES_FORGOTTEN_MS = 10 * SECOND
/** How full a window may get by those who come all at once, by priority; what is more is paced. */
const BURST: Readonly<Record<Priority, number>> = { interactive: 1, normal: 0.5, bulk: 0 }
/**
 * Where less than this part of the pace was used lately, it is so much faster: what a node held up for a moment did not
 * use in its time is made up for. Only of late: an empty window is not filled early, to be blocked afterwards.
 */
const CAUGHT_UP = 0.93
const CATCH_UP = 1.3
/** The part of a window that is late. */
const LATELY = 0.2
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
  const nodes = withNode(learned.nodes, ask, now, slot)
  const { nodes: placed, places } = placesFor(nodes, ask, limit.concurrency)
  const given =
    learned.blockedUntil > now
      ? { ...nothing(learned.granted, placed[ask.node]!), node: { ...placed[ask.node]!, upTo: slot } }
      : grid.paced
        ? paced({ grid, slot, ours, granted: learned.granted, nodes: placed, ask, limit, now })
        : pooled({ grid, slot, ours, granted: learned.granted, nodes: placed, ask, limit, now })
  const state = { ...learned, granted: given.granted, nodes: { ...placed, [ask.node]: given.node } }
  const sharing = Object.values(state.nodes).filter((node) => node.at > now - FORGOTTEN_MS).length
  return {
    state,
    grant: {
      slices: given.slices,
      allowed,
      ours,
      used: usedBy(given.granted, grid, limit.windowMs, now, undefined),
      nodes: Math.max(1, sharing),
      blockedUntil: state.blockedUntil,
      freeAt: Math.max(state.blockedUntil, freeAt(given.granted, grid, slot, ours, now)),
      places,
    },
  }
}

/** Calls may reach the provider closer together than they left: this part of a short window is left for that. */
const MARGIN = 0.02

function oursOf(allowed: number, { amount, slack }: Foreign, { paced }: Grid): number {
  return Math.max(
    1,
    Math.floor(
      allowed - (paced ? Math.floor(allowed * MARGIN) + Math.ceil(allowed * slack - 1e-9) : 0) - amount,
    ),
  )
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
    const ours = usedBy(state.granted, grid, limit.windowMs, now - agoMs, resetInMs)
    foreign = measured(foreign, { left: remaining, ours, refused: ask.refused }, context)
  }
  if (ask.refused) foreign = cautious(foreign, context)
  // Where the provider says what is left, that tells more than its refusals.
  if (ask.refused && now - foreign.measuredAt > 2 * limit.windowMs) {
    const ours = usedBy(state.granted, grid, limit.windowMs, now, undefined)
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

function withNode(
  nodes: BudgetState['nodes'],
  ask: BudgetAsk,
  now: number,
  slot: number,
): Record<string, BudgetNode> {
  const kept = Object.entries(nodes).filter(
    ([id, node]) => id !== ask.node && node.at > now - (node.places > 0 ? PLACES_FORGOTTEN_MS : FORGOTTEN_MS),
  )
  const known = nodes[ask.node]
  const back = known !== undefined && known.at > now - FORGOTTEN_MS && known.upTo < slot + MOST_AHEAD_SLOTS
  return {
    ...Object.fromEntries(kept),
    [ask.node]: {
      at: now,
      wants: ask.wants,
      upTo: back ? Math.max(slot - 1, Math.min(known.upTo, ask.upTo ?? known.upTo)) : slot - 1,
      // Who comes anew finds the first one at once.
      credit: back ? known.credit : ask.unit,
      places: known?.places ?? 0,
      placesWanted: ask.places.wanted,
    },
  }
}

const MOST_AHEAD_SLOTS = 2 * AHEAD_MS

interface Giving {
  readonly grid: Grid
  readonly slot: number
  readonly ours: number
  readonly granted: Counts
  readonly nodes: Record<string, BudgetNode>
  readonly ask: BudgetAsk
  readonly limit: LimitDefinition
  readonly now: number
}

interface Given {
  readonly slices: BudgetGrant['slices']
  readonly granted: Counts
  readonly node: BudgetNode
}

function nothing(granted: Counts, node: BudgetNode): Given {
  return { slices: [], granted, node }
}

/** Points spread evenly over the time to come, at this node's share of the pace; and at once for those who wait. */
function paced(giving: Giving): Given {
  const { grid, slot, ours, nodes, ask, limit, now } = giving
  const node = nodes[ask.node]!
  const slices: { slot: number; points: number }[] = []
  let { granted } = giving
  const give = (at: number, points: number): void => {
    granted = added(granted, at, points)
    slices.push({ slot: at, points })
  }
  const unit = Math.min(ask.unit, ours)
  let roomNow = ours - fullest(granted, grid, slot)
  for (const priority of ['interactive', 'normal'] as const) {
    const room = roomNow - (1 - BURST[priority]) * ours
    const points = wholeUnits(Math.min(ask.waiting[priority], room), unit)
    if (points <= 0) continue
    give(slot, points)
    roomNow -= points
  }
  const lately = Math.ceil(grid.span * LATELY)
  const behind = sumOf(granted, slot - lately, slot - 1) < ours * LATELY * CAUGHT_UP
  const rate =
    pointsPerSlot(nodes, ask.node, { ours, windowMs: limit.windowMs, now, grid }) * (behind ? CATCH_UP : 1)
  const ahead = slot + Math.max(1, Math.ceil(AHEAD_MS / grid.slotMs))
  const most = unit + 4 * rate
  let { credit } = node
  for (let at = Math.max(node.upTo + 1, slot); at <= ahead; at++) {
    credit = Math.min(most, credit + rate)
    if (credit < unit) continue
    const points = wholeUnits(Math.min(credit, ours - fullest(granted, grid, at)), unit)
    if (points <= 0) continue
    give(at, points)
    credit -= points
  }
  return { slices, granted, node: { ...node, upTo: Math.max(ahead, node.upTo), credit } }
}

function pointsPerSlot(
  nodes: Record<string, BudgetNode>,
  id: string,
  rate: { readonly ours: number; readonly windowMs: number; readonly now: number; readonly grid: Grid },
): number {
  const sharing = Object.entries(nodes).filter(([, node]) => node.at > rate.now - FORGOTTEN_MS)
  const perSecond = (rate.ours * SECOND) / rate.windowMs
  const shares = sharesOf(
    perSecond,
    sharing.map(([, node]) => node.wants),
  )
  const mine = shares[sharing.findIndex(([other]) => other === id)] ?? 0
  return (mine * rate.grid.slotMs) / SECOND
}

/** Points of a long window for what is wanted in the next second; only their sum counts. */
function pooled({ grid, slot, ours, granted, nodes, ask }: Giving): Given {
  const node = { ...nodes[ask.node]!, upTo: slot }
  const unit = Math.min(ask.unit, ours)
  const urgent = ask.waiting.interactive + ask.waiting.normal + ask.wants.interactive + ask.wants.normal
  const room = ours - fullest(granted, grid, slot)
  const forUrgent = Math.min(room, Math.max(0, urgent - ask.held))
  const kept = ours >= 50 ? Math.ceil(ours * KEPT_FROM_BULK) : 0
  const bulk = Math.max(0, ask.waiting.bulk + ask.wants.bulk - Math.max(0, ask.held - urgent))
  const forBulk = Math.max(0, Math.min(room - forUrgent - kept, bulk))
  const wanted = Math.max(Math.ceil(forUrgent + forBulk), urgent + bulk > 0 && ask.held < unit ? unit : 0)
  const points = wholeUnits(Math.min(wanted, urgent > 0 ? room : room - kept), 1)
  if (points <= 0) return nothing(granted, node)
  return { slices: [{ slot, points }], granted: added(granted, slot, points), node }
}

function wholeUnits(points: number, unit: number): number {
  return Math.floor(points / unit + 1e-9) * unit
}

/** When the window next has room for a point, by what was granted up to now. */
function freeAt(granted: Counts, grid: Grid, slot: number, ours: number, now: number): number {
  if (fullest(granted, grid, slot) < ours) return now
  for (let at = slot + 1; at <= slot + grid.span; at++)
    if (sumOf(granted, at - grid.span + 1, at) < ours) return at * grid.slotMs
  return (slot + grid.span) * grid.slotMs
}

/** What of a limit is used: in the window that ends now, and the points that were granted for the time to come. */
export function useOf(
  state: BudgetState,
  limit: LimitDefinition,
  now: number,
): {
  readonly used: number
  readonly allowed: number
  readonly foreign: number
  readonly freeAt: number
  readonly nodes: number
} {
  const grid = gridOf(limit.windowMs)
  const slot = Math.floor(now / grid.slotMs)
  const granted = pruned(state.granted, grid, slot)
  const allowed = state.stated ?? limit.allowed
  const foreign = relaxed(state.foreign, { allowed, windowMs: limit.windowMs, now })
  const ours = oursOf(allowed, foreign, grid)
  return {
    used: usedBy(granted, grid, limit.windowMs, now, undefined),
    allowed,
    foreign: Math.round(foreign.amount),
    freeAt: Math.max(state.blockedUntil, freeAt(granted, grid, slot, ours, now)),
    nodes: Object.values(state.nodes).filter((node) => node.at > now - FORGOTTEN_MS).length,
  }
}
