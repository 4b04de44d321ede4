import { reasonOf, SECOND, type Clock } from '../../base/index.ts'

const REPEATED_AFTER_MS = 30 * SECOND
const MOST_KINDS = 200

/**
 * Says faults of a server on stderr, one line each with its time. The same fault again within 30 s is only counted,
 * so that a database that is away for an hour does not fill a disk.
 */
export function createFaultLog(
  write: (line: string) => void,
  clock: Clock,
): (what: string, error: unknown) => void {
  const said = new Map<string, { at: number; again: number }>()
  return (what, error) => {
    const line = `${what}: ${reasonOf(error)}`
    const before = said.get(line)
    const now = clock.monotonic()
    if (before !== undefined && now - before.at < REPEATED_AFTER_MS) {
      before.again++
      return
    }
    if (said.size >= MOST_KINDS) said.clear()
    said.set(line, { at: now, again: 0 })
    const times = before !== undefined && before.again > 0 ? ` (and ${before.again} times more since)` : ''
    write(`${new Date(clock.now()).toISOString()} ${line}${times}`)
  }
}
