/** What somebody holds of something scarce while we wait for them. */
export interface Holding {
  /** Whom it counts against: see {@link neighbourhoodOf}. */
  readonly address: string
  /** Within the address; `''` where it is not known yet. */
  readonly endpoint: string
  /** How much of it, in whatever unit. */
  readonly held: number
}

/**
 * Who gives way where there is not enough room: of the address that holds most, at the endpoint where it holds most,
 * what has waited longest; again and again until `toFree` is free. `holdings` come oldest first, and the answer is
 * part of them. Pure.
 *
 * It can silence no provider:
 * - It is asked only where there is no room. However many requests of an address failed, none is refused for that:
 *   forged requests can come from the very addresses that a provider sends from (a cloud's shared egress, a load
 *   balancer that stands before both), and a count of failures would be a way to have that provider shut out.
 * - Whoever holds less than another yields after that one. A delivery that comes in one piece holds little.
 * - Where all share one address, the oldest yields, and not the newest: a delivery is there within milliseconds,
 *   while what is meant to hold room has to stay.
 * - What is verified is never listed: it has a room of its own.
 */
export function whoYields<One extends Holding>(holdings: Iterable<One>, toFree: number): One[] {
  const groups = new Map<string, Group<One>>()
  for (const one of holdings) {
    const group = groups.get(one.address) ?? { held: 0, endpoints: new Map<string, Line<One>>() }
    const line = group.endpoints.get(one.endpoint) ?? { held: 0, next: 0, all: [] }
    line.all.push(one)
    line.held += one.held
    group.held += one.held
    group.endpoints.set(one.endpoint, line)
    groups.set(one.address, group)
  }
  const yielding: One[] = []
  for (let freed = 0; freed < toFree;) {
    const group = most(groups.values())
    const line = group && most(group.endpoints.values())
    const one = line?.all[line.next]
    if (group === undefined || line === undefined || one === undefined) break
    line.next++
    line.held -= one.held
    group.held -= one.held
    freed += one.held
    yielding.push(one)
  }
  return yielding
}

interface Line<One> {
  held: number
  /** Those before it yield already. */
  next: number
  readonly all: One[]
}

interface Group<One> {
  held: number
  readonly endpoints: Map<string, Line<One>>
}

/** The one that holds most, and of equals the first; `undefined` where nobody holds anything. */
function most<Holder extends { readonly held: number }>(holders: Iterable<Holder>): Holder | undefined {
  let found: Holder | undefined
  for (const holder of holders) if (holder.held > (found?.held ?? 0)) found = holder
  return found
}

/**
 * Whom a socket's address counts against: an IPv4 address, also where it is mapped into IPv6, or the /64 of an IPv6
 * address, which is the least that one customer is given (RFC 6177). Never a header: `X-Forwarded-For` is written
 * by whoever likes to.
 */
export function neighbourhoodOf(address: string | undefined): string {
  if (address === undefined) return ''
  if (!address.includes(':')) return address
  if (/^::ffff:\d+\./i.test(address)) return address.slice(7)
  const [head = '', tail] = address.split('%', 1)[0]!.split('::')
  const before = head === '' ? [] : head.split(':')
  const after = tail === undefined || tail === '' ? [] : tail.split(':')
  const zeros = Array<string>(Math.max(0, 8 - before.length - after.length)).fill('0')
  return `${[...before, ...zeros, ...after].slice(0, 4).join(':')}::/64`
}
