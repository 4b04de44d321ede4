import type { LimitDefinition, LimitHeaders, ProviderAnswer } from '../../define/index.ts'
import { observedLimits, refusedBy, type ObservedLimit } from '../../resilience/index.ts'
import type { LimitLease, Taken } from './lease.ts'

interface Learning {
  /** Of the limits that the call counted against, and what it took of each. */
  readonly took: readonly { readonly lease: LimitLease; readonly taken: Taken }[]
  readonly table: readonly LimitHeaders[]
  /** The time that the provider named, on the wall clock. */
  readonly retryAt: number | undefined
  readonly wall: number
  /** The same moment on the leases' clock. */
  readonly now: number
}

/**
 * Tells the leases what an answer says of their limits. Gives the names of those that refused the call: on a 429
 * every limit that it counted against, unless the answer says which. The longest window bounds the wait, because
 * after it everything is new.
 */
export function learnFrom(answer: ProviderAnswer, learning: Learning): string[] {
  const { took, table, wall, now, retryAt } = learning
  const leases = took.map(({ lease }) => lease)
  const limits = leases.map(({ limit }) => limit)
  const emptied = new Set<LimitLease>()
  const left = new Set<LimitLease>()
  if (answer.status === 429) for (const { lease, taken } of took) lease.uncounted(taken)
  for (const observed of observedLimits(answer.headers, wall, table)) {
    const about = matching(observed, limits)
    const found = took.find(({ lease }) => lease.limit === about)
    if (found === undefined) continue
    const { lease, taken } = found
    const { remaining, resetAt } = observed
    const allowed = isSame(observed, lease.limit) ? observed.allowed : undefined
    const isCertain = isSame(observed, lease.limit) || observed.allowed === lease.limit.allowed
    lease.see(
      {
        ...(allowed === undefined || allowed < 1 ? {} : { allowed }),
        ...(isCertain ? { remaining } : {}),
        ...(resetAt === undefined ? {} : { resetAt: now + (resetAt - wall) }),
      },
      taken,
      now,
    )
    if (remaining > 0) {
      if (isCertain) left.add(lease)
      continue
    }
    emptied.add(lease)
    if (resetAt !== undefined) lease.block(now + Math.min(resetAt - wall, lease.limit.windowMs))
  }
  if (answer.status !== 429) return []
  // What says itself that it has points left did not refuse for want of them.
  const suspects = leases.filter((lease) => !left.has(lease) || emptied.has(lease))
  return refusedLeases(answer, suspects, emptied, table).map((lease, _, refused) => {
    const longest = Math.max(...refused.map(({ limit }) => limit.windowMs))
    const shortest = Math.min(...refused.map(({ limit }) => limit.windowMs))
    lease.block(now + Math.min(retryAt === undefined ? shortest : retryAt - wall, longest))
    // Which of several it was is not known: of the shortest window it is the likeliest.
    if (lease.limit.windowMs === shortest || emptied.has(lease)) lease.refuse()
    return lease.limit.name
  })
}

function refusedLeases(
  answer: ProviderAnswer,
  leases: readonly LimitLease[],
  emptied: ReadonlySet<LimitLease>,
  table: readonly LimitHeaders[],
): readonly LimitLease[] {
  const named = leases.map((lease) => refusedBy(answer.headers, lease.limit.name, table))
  if (named.some((is) => is !== undefined)) return leases.filter((_, i) => named[i] === true)
  return emptied.size > 0 && emptied.size < leases.length ? [...emptied] : leases
}

/** Whether it is for certain about this limit: by its name, or by its window. */
function isSame(observed: ObservedLimit, limit: LimitDefinition): boolean {
  return observed.name === limit.name || observed.windowMs === limit.windowMs
}

/** The declared limit that an observed one is: by name, by window, by allowance, or because there is only one. */
function matching(observed: ObservedLimit, limits: readonly LimitDefinition[]): LimitDefinition | undefined {
  return (
    limits.find((limit) => limit.name === observed.name) ??
    limits.find((limit) => limit.windowMs === observed.windowMs) ??
    limits.find((limit) => limit.allowed === observed.allowed) ??
    (limits.length === 1 ? limits[0] : undefined)
  )
}
