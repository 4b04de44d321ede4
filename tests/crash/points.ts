import { CRASH_POINTS, seededRandom, UsageError, type CrashPoint, type Random } from '../../src/base/index.ts'

/**
 * Where something is killed.
 *
 * - `node_write`: a node, at its n-th `write` or `writev` in one thread. Written `write:37`.
 * - `named`: a node, when it reaches a named place for the n-th time: `runs.claimed:2`.
 * - `zombie`: a node stands still there until it was declared dead, then goes on: `zombie:runs.claimed:2`.
 * - `node_after`: a node, at a moment: `node:350ms`.
 * - `all_after`: every node at once; then one is started: `all:350ms`.
 * - `postgres_call`: a process of PostgreSQL at its n-th system call; with `whole` the postmaster with it:
 *   `fdatasync:12`, `server:pwrite64:12`.
 * - `postgres_after`: the postmaster, at a moment: `postgres:350ms`.
 * - `power_after`: the power of the machine, where it can be cut: `power:1500ms`.
 */
export type Point =
  | { readonly kind: 'node_write'; readonly n: number }
  | { readonly kind: 'named' | 'zombie'; readonly name: CrashPoint; readonly n: number }
  | { readonly kind: 'node_after' | 'all_after' | 'postgres_after' | 'power_after'; readonly ms: number }
  | {
      readonly kind: 'postgres_call'
      readonly call: PostgresCall
      readonly n: number
      readonly whole: boolean
    }

export type PostgresCall = 'fdatasync' | 'pwrite64'

/** Whether the point needs strace to start a node under it. */
export function tracesNodes(point: Point): boolean {
  return point.kind === 'node_write'
}

/** Whether the point needs strace to be attached to PostgreSQL, which is no child of ours. */
export function tracesServer(point: Point): boolean {
  return point.kind === 'postgres_call'
}

export function pointName(point: Point): string {
  switch (point.kind) {
    case 'node_write':
      return `write:${point.n}`
    case 'named':
      return `${point.name}:${point.n}`
    case 'zombie':
      return `zombie:${point.name}:${point.n}`
    case 'node_after':
      return `node:${point.ms}ms`
    case 'all_after':
      return `all:${point.ms}ms`
    case 'postgres_after':
      return `postgres:${point.ms}ms`
    case 'power_after':
      return `power:${point.ms}ms`
    case 'postgres_call':
      return `${point.whole ? 'server:' : ''}${point.call}:${point.n}`
  }
}

/** Reads what {@link pointName} wrote. Throws a {@link UsageError} that shows how points are written. */
export function parsePoint(text: string): Point {
  const [, first = '', second = '', last = ''] =
    /^(?:(zombie|server):)?([a-z_.0-9]+):(\d+)(?:ms)?$/.exec(text) ?? []
  const n = Number(last)
  const name = CRASH_POINTS.find((known) => known === second)
  if (n > 0 && name !== undefined && first !== 'server')
    return { kind: first === 'zombie' ? 'zombie' : 'named', name, n }
  if (n > 0 && (second === 'fdatasync' || second === 'pwrite64') && first !== 'zombie')
    return { kind: 'postgres_call', call: second, n, whole: first === 'server' }
  if (n > 0 && first === '') {
    if (second === 'write') return { kind: 'node_write', n }
    if (second === 'node' || second === 'all' || second === 'postgres' || second === 'power')
      return { kind: `${second}_after`, ms: n }
  }
  throw new UsageError(
    'crash_point_invalid',
    `"${text}" is no crash point. Write write:37, fdatasync:12, server:pwrite64:12, node:350ms, all:350ms, postgres:350ms, power:1500ms, ` +
      `or a named one such as runs.claimed:2 or zombie:runs.claimed:2. Names: ${CRASH_POINTS.join(', ')}.`,
  )
}

/** Shares of each kind in the long form, in thousandths; what is left over is `named`. */
const SHARES = {
  node_write: 330,
  postgres_call: 200,
  postgres_after: 40,
  node_after: 50,
  all_after: 40,
  zombie: 30,
}
/** Highest N of system calls and of named places. */
const LAST_CALL = 150
const LAST_NAMED = 40
const LAST_MS = 900
const FIRST_CUT_MS = 300

/**
 * So many points, spread evenly over what each kind can be, in an order that the seed decides. A process of PostgreSQL
 * comes to its `lastServerCall`-th commit (default 150) only after thousands of deliveries.
 */
export function choosePoints(count: number, seed: string, lastServerCall = LAST_CALL): Point[] {
  const random = seededRandom(`${seed} points`)
  const share = (thousandths: number): number => Math.max(1, Math.round((count * thousandths) / 1000))
  const spread = (many: number, last: number): number[] =>
    Array.from({ length: many }, (_, i) => 1 + Math.floor(((i + random.next()) * last) / many))
  const points: Point[] = [
    ...spread(share(SHARES.node_write), LAST_CALL).map((n): Point => ({ kind: 'node_write', n })),
    ...spread(share(SHARES.postgres_call), lastServerCall).map((n, i): Point => ({
      kind: 'postgres_call',
      call: i % 2 ? 'pwrite64' : 'fdatasync',
      n,
      whole: i % 4 > 1,
    })),
    ...(['postgres_after', 'node_after', 'all_after'] as const).flatMap((kind) =>
      spread(share(SHARES[kind]), LAST_MS).map((ms): Point => ({ kind, ms })),
    ),
    ...namedPoints('zombie', share(SHARES.zombie), spread),
  ]
  points.push(...namedPoints('named', Math.max(CRASH_POINTS.length, count - points.length), spread))
  return shuffle(points, random).slice(0, Math.max(count, CRASH_POINTS.length))
}

/** Moments at which the power is cut. */
export function choosePowerCuts(count: number, seed: string): Point[] {
  const random = seededRandom(`${seed} power`)
  return Array.from({ length: count }, () => ({
    kind: 'power_after',
    ms: FIRST_CUT_MS + Math.floor(random.next() * LAST_MS * 2),
  }))
}

/** A node stops rescuing seldom: that place is reached only while another one lies dead. */
function lastOf(name: CrashPoint): number {
  return name === 'rescue.before_commit' ? 1 : LAST_NAMED
}

function namedPoints(
  kind: 'named' | 'zombie',
  count: number,
  spread: (many: number, last: number) => number[],
): Point[] {
  const names = CRASH_POINTS.filter((name) => kind === 'named' || name !== 'rescue.before_commit')
  return names.flatMap((name, i) => {
    const share = Math.floor(count / names.length) + (i < count % names.length ? 1 : 0)
    return spread(share, lastOf(name)).map((n): Point => ({ kind, name, n }))
  })
}

function shuffle<T>(list: readonly T[], random: Random): T[] {
  const mixed = [...list]
  for (let i = mixed.length - 1; i > 0; i--) {
    const j = Math.floor(random.next() * (i + 1))
    ;[mixed[i], mixed[j]] = [mixed[j]!, mixed[i]!]
  }
  return mixed
}
