import { createHash } from 'node:crypto'
import { seededRandom } from '../../base/index.ts'
import { matchPath } from './routes.ts'

/** How a provider that is down behaves: 503 answers, connections cut without an answer, or a closed port. */
export type DownMode = 'unavailable' | 'reset' | 'refuse'

/** Which requests a fault concerns: `'POST /v1/refunds'`, `'GET /v1/customers/*'`, `'/v1/customers/:id'`. Absent: all. */
export interface FaultFilter {
  readonly only?: string
}

/** What goes wrong with one exchange. `number` faults of a kind are armed at once and used up one by one. */
export type Fault =
  /** Answered with this status. Without `inside` or `acted` the provider did nothing. */
  | {
      readonly kind: 'fail'
      readonly status: number
      readonly headers?: Readonly<Record<string, string>>
      /** An object is sent as JSON, text as it is. Default: the twin's own error body for the status. */
      readonly body?: unknown
      /** The provider acts all the same. */
      readonly acted?: boolean
      /** The error comes from inside the provider's processing, so that its key store remembers it. */
      readonly inside?: boolean
    }
  /** 429 with `Retry-After`. */
  | { readonly kind: 'rate_limit'; readonly retryAfterSeconds: number }
  /** The provider acts, then the connection is cut without an answer. */
  | { readonly kind: 'reset_after_acting' }
  /** The connection is cut before the provider acts. */
  | { readonly kind: 'reset_before_acting' }
  /** The answer comes after `ms`. With `actLate` the provider acts only then, when the caller may have given up. */
  | { readonly kind: 'slow'; readonly ms: number; readonly actLate?: boolean }
  /** 200 with an HTML page, or with JSON that breaks off. The provider acted. */
  | { readonly kind: 'garbage'; readonly as: 'html' | 'truncated' }
  /** The answer lacks the field at this dotted path (`results.0.id`; `*` stands for every position). */
  | { readonly kind: 'drop_field'; readonly path: string }
  /** The answer has one more field at this dotted path. */
  | { readonly kind: 'add_field'; readonly path: string }

interface Armed {
  readonly fault: Fault
  readonly filter: FaultFilter
  remaining: number
}

/** Switches for a twin's faults. Each fault is armed for `n` exchanges; they are used up in the order of arming. */
export interface Faults {
  /** Takes the provider down, or brings it back. Default mode `'unavailable'`. */
  down(on: boolean, mode?: DownMode): void
  /** Arms any fault for `n` exchanges. */
  arm(n: number, fault: Fault, filter?: FaultFilter): void
  failNext(
    n: number,
    status: number,
    options?: Omit<Extract<Fault, { kind: 'fail' }>, 'kind' | 'status'> & FaultFilter,
  ): void
  rateLimit(n: number, retryAfterSeconds: number, filter?: FaultFilter): void
  resetAfterActing(n: number, filter?: FaultFilter): void
  resetBeforeActing(n: number, filter?: FaultFilter): void
  slow(ms: number, n: number, options?: { actLate?: boolean } & FaultFilter): void
  garbage(n: number, options?: { as?: 'html' | 'truncated' } & FaultFilter): void
  dropField(path: string, n: number, filter?: FaultFilter): void
  addField(path: string, n: number, filter?: FaultFilter): void
  /**
   * A mix of faults on this share of requests (0 to 1; 0 switches it off). Which request is hit depends on the seed
   * and on the request itself, not on the order in which requests come: the same seed gives the same faults.
   */
  chaos(rate: number, seed?: string): void
  /** Switches everything off. */
  clear(): void
  /** What is armed now. */
  state(): {
    down: DownMode | undefined
    chaos: number
    armed: { fault: Fault; remaining: number; only?: string }[]
  }
}

export interface FaultSwitchboard extends Faults {
  /** The fault for this request, used up by asking. */
  take(request: { method: string; path: string; body: Buffer }): Fault | undefined
}

/** The switchboard of one twin. `onDown` is told when the port must close or open. */
export function createFaults(seed: string, onDown: (mode: DownMode | undefined) => void): FaultSwitchboard {
  let downMode: DownMode | undefined
  let armed: Armed[] = []
  let chaosRate = 0
  let chaosSeed = seed
  let seen = new Map<string, number>()

  const arm = (n: number, fault: Fault, filter: FaultFilter = {}): void => {
    if (n > 0) armed.push({ fault, filter, remaining: n })
  }
  const setDown = (mode: DownMode | undefined): void => {
    if (mode === downMode) return
    downMode = mode
    onDown(mode)
  }

  return {
    arm,
    down: (on, mode = 'unavailable') => setDown(on ? mode : undefined),
    failNext: (n, status, { only, ...options } = {}) =>
      arm(n, { kind: 'fail', status, ...options }, { only }),
    rateLimit: (n, retryAfterSeconds, filter) => arm(n, { kind: 'rate_limit', retryAfterSeconds }, filter),
    resetAfterActing: (n, filter) => arm(n, { kind: 'reset_after_acting' }, filter),
    resetBeforeActing: (n, filter) => arm(n, { kind: 'reset_before_acting' }, filter),
    slow: (ms, n, { only, actLate } = {}) => arm(n, { kind: 'slow', ms, actLate }, { only }),
    garbage: (n, { only, as = 'html' } = {}) => arm(n, { kind: 'garbage', as }, { only }),
    dropField: (path, n, filter) => arm(n, { kind: 'drop_field', path }, filter),
    addField: (path, n, filter) => arm(n, { kind: 'add_field', path }, filter),
    chaos(rate, newSeed = seed) {
      chaosRate = rate
      chaosSeed = newSeed
      seen = new Map()
    },
    clear() {
      setDown(undefined)
      armed = []
      chaosRate = 0
    },
    state: () => ({
      down: downMode,
      chaos: chaosRate,
      armed: armed.map(({ fault, remaining, filter }) => ({ fault, remaining, only: filter.only })),
    }),
    take(request) {
      const index = armed.findIndex(({ filter }) => concerns(filter, request))
      const hit = armed[index]
      if (hit) {
        hit.remaining--
        if (hit.remaining === 0) armed.splice(index, 1)
        return hit.fault
      }
      return chaosRate > 0 ? chaosFault(request, chaosRate, chaosSeed, seen) : undefined
    },
  }
}

function concerns({ only }: FaultFilter, request: { method: string; path: string }): boolean {
  if (only === undefined) return true
  const [first = '', second] = only.split(' ')
  if (second === undefined) return matchPath(first, request.path) !== undefined
  return first === request.method && matchPath(second, request.path) !== undefined
}

/** Most distinct requests whose repetitions chaos counts; beyond it the count starts anew. */
const CHAOS_MEMORY = 100_000

function chaosFault(
  request: { method: string; path: string; body: Buffer },
  rate: number,
  seed: string,
  seen: Map<string, number>,
): Fault | undefined {
  const digest = createHash('sha256').update(request.body).digest('hex')
  const what = `${request.method} ${request.path} ${digest}`
  const times = (seen.get(what) ?? 0) + 1
  if (seen.size >= CHAOS_MEMORY) seen.clear()
  seen.set(what, times)
  const random = seededRandom(`${seed} ${what} ${times}`)
  if (random.next() >= rate) return undefined
  return CHAOS_MIX[Math.floor(random.next() * CHAOS_MIX.length)]
}

/** Faults that a caller must survive without a person's help. */
const CHAOS_MIX: readonly Fault[] = [
  { kind: 'fail', status: 503 },
  { kind: 'fail', status: 500 },
  { kind: 'rate_limit', retryAfterSeconds: 1 },
  { kind: 'reset_before_acting' },
  { kind: 'reset_after_acting' },
  { kind: 'slow', ms: 250 },
]

/** Takes away or adds a field at a dotted path in parsed JSON; `*` stands for every position of a list. */
export function alterField(value: unknown, path: string, how: 'drop' | 'add'): unknown {
  const [first = '', ...rest] = path.split('.')
  if (Array.isArray(value)) {
    return value.map((item: unknown, i) => {
      if (first !== '*' && first !== String(i)) return item
      return rest.length === 0 ? item : alterField(item, rest.join('.'), how)
    })
  }
  if (value === null || typeof value !== 'object') return value
  const fields = value as Record<string, unknown>
  if (rest.length > 0) {
    if (!Object.hasOwn(fields, first)) return value
    return { ...fields, [first]: alterField(fields[first], rest.join('.'), how) }
  }
  if (how === 'add') return { ...fields, [first]: 'a field that nobody announced' }
  return Object.fromEntries(Object.entries(fields).filter(([name]) => name !== first))
}
