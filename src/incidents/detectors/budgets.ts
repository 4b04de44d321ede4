import { DAY, durationWords, HOUR, MINUTE } from '../../base/index.ts'
import type { LimitDefinition } from '../../define/index.ts'
import { NEW_BUDGET, useOf, type BudgetState } from '../../resilience/index.ts'
import { atWords, countWords, defineDetector, FACTS_LIMIT, type Detector } from './detector.ts'

/** The limits of a connector, by its name; none where it is not in the configuration. */
export type LimitsOf = (connector: string) => readonly LimitDefinition[]

interface BudgetFact {
  readonly connectionId: string
  readonly name: string
  readonly limit: LimitDefinition
  /** What is left to us of a window once others with the same credential have had theirs. */
  readonly ours: number
  readonly used: number
  readonly goneAt: number | undefined
  /** Until when the provider wants nothing sent; in the past: it does not. */
  readonly blockedUntil: number
  /** Who spent most in the last hours. */
  readonly spender: string | undefined
  /** It is an incident already. */
  readonly told: boolean
}

/** Shorter windows are used up and refilled all the time: that is what they are for. */
export const SHORTEST_WINDOW_MS = HOUR
/** A window is near its end when this part of it is used, and no longer when less than the second part is. */
export const NEAR = 0.8
export const NOT_NEAR = 0.7
/** A window that lasts no longer than this at the present rate is near its end before, from half on. */
export const GONE_WITHIN_MS = 2 * HOUR
const HALF = 0.5
/** A provider that wants nothing for longer than this is told of. */
export const BLOCKED_MS = 10 * MINUTE

/** A limit of an hour or more, such as a daily quota, is nearly used up; or the provider wants nothing sent for long. */
export function budgets(limitsOf: LimitsOf): Detector {
  return defineDetector<BudgetFact>({
    kind: 'budget',
    most: 10 * FACTS_LIMIT,
    async facts({ client, tenant, now }) {
      const { rows } = await client.query<BudgetRow>(
        `select b.connection_id, c.name, c.connector, b.limit_name, b.state, s.lately, s.spender,
           exists (select 1 from incidents i where i.tenant = b.tenant and i.kind = 'budget' and i.subject = b.connection_id || ' ' || b.limit_name and i.state <> 'resolved') as told
         from budgets b join connections c on c.tenant = b.tenant and c.id = b.connection_id
         cross join lateral (select coalesce(sum(points), 0)::float8 as lately, (array_agg(flow order by points desc))[1] as spender
           from budget_spending s where s.tenant = b.tenant and s.connection_id = b.connection_id and s.limit_name = b.limit_name and s.hour >= $2) s
         where b.tenant = $1 and b.updated_at > $3 order by b.connection_id, b.limit_name limit ${10 * FACTS_LIMIT}`,
        [tenant, new Date(now - latelyMs(now)), new Date(now - DAY)],
      )
      return rows.flatMap((row) => factOf(row, limitsOf, now))
    },
    condition: conditionOf,
    over: 'There is room in the budget again.',
  })
}

interface BudgetRow {
  readonly connection_id: string
  readonly name: string
  readonly connector: string
  readonly limit_name: string
  readonly state: string
  readonly lately: number
  readonly spender: string | null
  readonly told: boolean
}

/** From the beginning of the hour before this one. */
function latelyMs(now: number): number {
  return HOUR + (now % HOUR)
}

function factOf(row: BudgetRow, limitsOf: LimitsOf, now: number): readonly BudgetFact[] {
  const limit = limitsOf(row.connector).find((one) => one.name === row.limit_name)
  if (!limit) return []
  const state: BudgetState = { ...NEW_BUDGET, ...(JSON.parse(row.state) as Partial<BudgetState>) }
  const { used, allowed, foreign } = useOf(state, limit, now)
  const ours = Math.max(1, allowed - foreign)
  const rate = row.lately / latelyMs(now)
  // At a rate that a window bears, what is used goes out of it again.
  const lasts = rate * limit.windowMs <= ours
  const goneAt = used >= ours ? now : lasts ? undefined : now + (ours - used) / rate
  return [
    {
      connectionId: row.connection_id,
      name: row.name,
      limit,
      ours,
      used,
      goneAt,
      blockedUntil: state.blockedUntil,
      spender: row.spender ?? undefined,
      told: row.told,
    },
  ]
}

export function conditionOf(
  fact: BudgetFact,
  now: number,
): ReturnType<Parameters<typeof defineDetector<BudgetFact>>[0]['condition']> {
  const { connectionId, name, limit, ours, used, goneAt, blockedUntil, spender, told } = fact
  const blocked = blockedUntil - now > (told ? 0 : BLOCKED_MS)
  const part = used / ours
  const soon = goneAt !== undefined && goneAt - now <= GONE_WITHIN_MS && part >= HALF
  const near = limit.windowMs >= SHORTEST_WINDOW_MS && (part >= (told ? NOT_NEAR : NEAR) || soon)
  if (!blocked && !near) return undefined
  const window = durationWords(limit.windowMs)
  const left = Math.max(0, Math.floor(ours - used))
  return {
    subject: `${connectionId} ${limit.name}`,
    title: `The budget "${limit.name}" of ${name} is near its end`,
    what: blocked
      ? `${name} wants no calls until ${atWords(blockedUntil)}: its limit "${limit.name}" is used up.`
      : `${Math.round(used).toLocaleString('en')} of ${Math.floor(ours).toLocaleString('en')} calls that ${name} allows in ${window} ("${limit.name}") are used.${goneAt === undefined ? '' : goneAt <= now ? ' None is left.' : ` At this rate the rest is gone at ${atWords(goneAt)}.`}`,
    since: now,
    holdsUp:
      blocked || left === 0
        ? 'Calls wait, and go when there is room; nothing is lost.'
        : `Nothing yet: ${countWords(left, 'call')} left.`,
    todo: `${spender === undefined ? '' : `Most is spent by ${spender}. `}Look who spends it (trestle budgets), let what can wait run later, or ask the provider for a higher limit.`,
    connectionId,
  }
}
