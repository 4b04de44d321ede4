import type { BudgetAsk, BudgetNode } from './budget.ts'
import { fairly } from './shares.ts'

/**
 * Places in flight of one limit, shared by nodes. A node keeps the places of its calls under way until they end; who
 * has more than its fair part while another has less begins no more until that is mended.
 */
export function placesFor(
  nodes: Record<string, BudgetNode>,
  ask: BudgetAsk,
  concurrency: number | undefined,
): { readonly nodes: Record<string, BudgetNode>; readonly places: number } {
  const { inFlight, wanted } = ask.places
  if (concurrency === undefined) return { nodes, places: Number.POSITIVE_INFINITY }
  const ids = Object.keys(nodes)
  const fair = fairly(
    concurrency,
    ids.map((id) => nodes[id]!.placesWanted),
  )
  const others = ids.filter((id) => id !== ask.node)
  const free = concurrency - others.reduce((sum, id) => sum + nodes[id]!.places, 0)
  const short = others.some((id) => {
    const { places, placesWanted } = nodes[id]!
    return places < Math.min(placesWanted, Math.max(1, Math.floor(fair[ids.indexOf(id)]!)))
  })
  const had = nodes[ask.node]!.places
  const part = Math.floor(fair[ids.indexOf(ask.node)]!)
  // Where there are fewer places than nodes, they go round.
  const most = short ? (had > 0 ? part : Math.max(1, part)) : concurrency
  const places = Math.max(0, Math.min(wanted, free, most))
  return {
    nodes: { ...nodes, [ask.node]: { ...nodes[ask.node]!, places: Math.max(places, inFlight) } },
    places,
  }
}
