import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { systemRandom } from '../src/base/index.ts'
import { startEmbeddedPostgres } from '../src/db/index.ts'
import { ENDPOINT, SECRET } from './parts/acme.ts'
import { ALLOWED_PER_SECOND, LIMITS } from './parts/budgetConfig.ts'
import { startChild, type Child } from './parts/child.ts'
import { round } from './parts/histogram.ts'

interface Case {
  readonly nodes: number
  readonly limits: keyof typeof LIMITS
  /** The part of the limit that a foreign client takes. */
  readonly foreign: number
  /** Whether the provider says in each answer what is left. */
  readonly tells: boolean
}

const CASES: Readonly<Record<string, Case>> = {
  oneNode: { nodes: 1, limits: 'second', foreign: 0, tells: true },
  fourNodes: { nodes: 4, limits: 'second', foreign: 0, tells: true },
  fourNodesSeveralWindows: { nodes: 4, limits: 'several', foreign: 0, tells: true },
  oneNodeForeign30: { nodes: 1, limits: 'second', foreign: 0.3, tells: true },
  fourNodesForeign30: { nodes: 4, limits: 'second', foreign: 0.3, tells: true },
  oneNodeForeign60: { nodes: 1, limits: 'second', foreign: 0.6, tells: true },
  fourNodesForeign60: { nodes: 4, limits: 'second', foreign: 0.6, tells: true },
  fourNodesForeign60Untold: { nodes: 4, limits: 'second', foreign: 0.6, tells: false },
}

/** How long the budgets have to find their pace before it is measured. */
const SETTLE_SECONDS = 8
const INTERACTIVE_PER_SECOND = 4

/**
 * The part of a provider's limit that is used while a bulk flow's backlog saturates it, calls that it refuses, and how
 * long an interactive flow's call takes from its webhook to the provider meanwhile. The provider enforces the limit
 * strictly. `used` is of what the foreign client leaves: what both use of the limit is `usedByBoth`.
 */
export async function budget(seconds: number, only?: string): Promise<Record<string, unknown>> {
  if (only !== undefined && !(only in CASES))
    throw new Error(`There is no case ${only}. There are: ${Object.keys(CASES).join(', ')}.`)
  const results: Record<string, unknown> = {}
  for (const [name, one] of Object.entries(CASES))
    if (only === undefined || name === only) results[name] = await play(one, seconds)
  return results
}

interface Counted {
  readonly ours: number
  readonly limited: number
  readonly foreign: number
  readonly foreignLimited: number
  readonly waits: { readonly count: number; readonly p95: number }
}

async function play(one: Case, seconds: number): Promise<Record<string, unknown>> {
  const folder = await mkdtemp(join(tmpdir(), 'trestle-bench-'))
  const server = await startEmbeddedPostgres({ dataDir: join(folder, 'postgres') })
  const children: Child[] = []
  const begin = async (name: string, argument: Record<string, unknown>): Promise<Child> => {
    const child = await startChild(name, argument)
    children.push(child)
    return child
  }
  try {
    const provider = await begin('limitedProvider', { limits: LIMITS[one.limits] })
    const masterKey = systemRandom.bytes(32).toString('base64')
    const node = { databaseUrl: server.url, providerUrl: provider.ready['url'], folder, masterKey }
    const first = await begin('budgetNode', { ...node, limits: one.limits })
    await Promise.all(
      Array.from({ length: one.nodes - 1 }, () => begin('budgetNode', { ...node, limits: one.limits })),
    )
    const sender = await begin('load', {})
    const load = { url: first.ready['url'], path: ENDPOINT, secret: SECRET }
    const backlog = ALLOWED_PER_SECOND * (SETTLE_SECONDS + seconds) * 1.5
    await provider.ask({ foreignPerSecond: one.foreign * ALLOWED_PER_SECOND, tells: one.tells })
    await sender.ask({
      ...load,
      type: 'payment.succeeded',
      connections: 32,
      // As long as it takes until all are accepted.
      seconds: 60,
      prepare: backlog / 60,
    })
    await passed(SETTLE_SECONDS)
    const begun = performance.now()
    await provider.ask({ reset: true })
    await sender.ask({
      ...load,
      type: 'payment.noted',
      connections: 4,
      seconds,
      rate: INTERACTIVE_PER_SECOND,
    })
    const counted = await provider.ask<Counted>({})
    const allowed = (ALLOWED_PER_SECOND * (performance.now() - begun)) / 1000
    const { ours, limited, foreign, foreignLimited, waits } = counted
    return {
      used: round(ours / (allowed - foreign), 3),
      usedByBoth: round((ours + foreign) / allowed, 3),
      limitedShare: round(limited / Math.max(1, ours + limited), 5),
      interactiveP95Ms: waits.p95,
      calls: ours,
      limited,
      foreignLimited,
      interactive: waits.count,
    }
  } finally {
    for (const child of children.reverse()) await child.stop()
    await server.stop()
    await rm(folder, { recursive: true, force: true })
  }
}

function passed(seconds: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, seconds * 1000)
  })
}
