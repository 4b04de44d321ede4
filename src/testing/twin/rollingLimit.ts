/**
 * Whether the newest request is one too many in a window that moves with it. `allowed` of `undefined` allows everything;
 * `now` in milliseconds since 1970. A request that is refused does not count.
 */
export function createRollingLimit(allowed: number | undefined, windowMs: number): (now: number) => boolean {
  let times: number[] = []
  return (now) => {
    if (allowed === undefined) return false
    times = times.filter((at) => now - at < windowMs)
    if (times.length >= allowed) return true
    times.push(now)
    return false
  }
}
