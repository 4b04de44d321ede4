import { RetryableError, systemClock, turn, type Clock } from '../base/index.ts'
import type { Database } from './connect.ts'
import { isConflict, isDataError } from './transaction.ts'

export interface GroupCommitOptions<Item, Answer> {
  /** Writes the batch in one transaction and answers each item, in the order given. */
  readonly flush: (batch: readonly Item[]) => Promise<readonly Answer[]>
  /** Batches are sorted by this key: unsorted overlapping batches deadlock. */
  readonly key: (item: Item) => string
  /**
   * Items of which this differs are never in one transaction, such as those of different tenants where the tables are
   * distributed by tenant. Default: any may be.
   */
  readonly apart?: ((item: Item) => string) | undefined
  /** About how many bytes an item brings. Default 0: they do not count. */
  readonly bytes?: (item: Item) => number
  /** Most bytes in one transaction; a larger item stands alone. Default 16 MiB. */
  readonly mostBytes?: number
  /** Most items in one transaction. Default 500. */
  readonly most?: number
  /** Transactions in flight at once. Default 2: the second only beside one that takes {@link besideMs}. */
  readonly lanes?: number
  /**
   * Nothing is begun beside a transaction that is younger than this, in milliseconds: what comes meanwhile is the next
   * one, and fewer and larger ones are sooner through. One that waits for a lock holds up no others for longer.
   * Default 100.
   */
  readonly besideMs?: number
  /** Default: the machine's. */
  readonly clock?: Clock
  /** Items that may wait; beyond, {@link GroupCommit.add} throws `overloaded`. Default 20,000. */
  readonly waiting?: number
}

export interface GroupCommit<Item, Answer> {
  /** Resolves with the item's answer once it is committed. */
  add(item: Item): Promise<Answer>
  /** Resolves when everything added so far has been answered. */
  drain(): Promise<void>
  /** Items not yet answered. */
  readonly size: number
}

/** What {@link GroupCommitOptions} says where it says nothing. */
export const GROUP_COMMIT_DEFAULTS = {
  most: 500,
  mostBytes: 16_777_216,
  lanes: 2,
  besideMs: 100,
  waiting: 20_000,
} as const

/** {@link GroupCommitOptions.apart} for tables that may be distributed by tenant: a transaction keeps to one shard. */
export function tenantsApart<Item>(
  { backend }: Pick<Database, 'backend'>,
  tenantOf: (item: Item) => string,
): ((item: Item) => string) | undefined {
  return backend === 'postgres' ? undefined : tenantOf
}

interface Waiting<Item, Answer> {
  readonly item: Item
  readonly key: string
  readonly resolve: (answer: Answer) => void
  readonly reject: (error: unknown) => void
}

/**
 * Collects what concurrent callers want to write and commits it in one transaction. Waits for nothing when idle:
 * a lone item is flushed after one turn of the event loop.
 *
 * A data error splits the batch in halves until the bad item stands alone; only that one is rejected. A deadlock
 * or serialization failure is tried again once. Any other fault rejects the whole batch.
 */
export function createGroupCommit<Item, Answer>(
  options: GroupCommitOptions<Item, Answer>,
): GroupCommit<Item, Answer> {
  const { flush, key, apart, bytes, most, mostBytes, lanes, besideMs, waiting, clock } = {
    clock: systemClock,
    ...GROUP_COMMIT_DEFAULTS,
    ...options,
  }
  const queue: Waiting<Item, Answer>[] = []
  /** Transactions in flight, by when they were begun. */
  const inFlight = new Set<{ begunAt: number }>()
  let looksAgain = false
  let unanswered = 0
  let drained: (() => void)[] = []

  function add(item: Item): Promise<Answer> {
    if (queue.length >= waiting)
      return Promise.reject(
        new RetryableError(
          'overloaded',
          `${queue.length} writes wait for the database already. Try again in a moment.`,
        ),
      )
    return new Promise<Answer>((resolve, reject) => {
      queue.push({ item, key: key(item), resolve, reject })
      unanswered++
      startWhereDue()
    })
  }

  /** Milliseconds until another may be begun beside these; 0 where there are none, or all take long. */
  function waitMs(others: Iterable<{ readonly begunAt: number }>): number {
    const youngest = Math.max(...[...others].map(({ begunAt }) => begunAt))
    return Math.max(0, youngest + besideMs - clock.monotonic())
  }

  function startWhereDue(): void {
    if (queue.length === 0 || inFlight.size >= lanes) return
    const ms = waitMs(inFlight)
    if (ms === 0) return void startLane()
    if (looksAgain) return
    looksAgain = true
    clock.after(ms, () => {
      looksAgain = false
      startWhereDue()
    })
  }

  /** As many as fit, one at least. */
  function takeBatch(): Waiting<Item, Answer>[] {
    const fitting = apart ? takeOfOneKind(apart) : queue
    let count = 0
    if (!bytes) count = Math.min(most, fitting.length)
    else
      for (let held = 0; count < Math.min(most, fitting.length); count++) {
        held += bytes(fitting[count]!.item)
        if (count > 0 && held > mostBytes) break
      }
    const batch = fitting.splice(0, count)
    if (apart) queue.unshift(...fitting)
    return batch
  }

  /** Those that may go with the one that has waited longest, in their order; the others stay. */
  function takeOfOneKind(kindOf: (item: Item) => string): Waiting<Item, Answer>[] {
    const kind = kindOf(queue[0]!.item)
    const all = queue.splice(0)
    const [taken, left]: Waiting<Item, Answer>[][] = [[], []]
    for (const one of all) (kindOf(one.item) === kind ? taken! : left!).push(one)
    queue.push(...left!)
    return taken!
  }

  async function startLane(): Promise<void> {
    const own = { begunAt: clock.monotonic() }
    const others = (): { begunAt: number }[] => [...inFlight].filter((other) => other !== own)
    inFlight.add(own)
    await turn()
    while (queue.length > 0) {
      own.begunAt = clock.monotonic()
      const batch = takeBatch().sort(byKey)
      await settle(batch, true)
      unanswered -= batch.length
      if (waitMs(others()) > 0) break
    }
    inFlight.delete(own)
    startWhereDue()
    if (unanswered === 0) {
      for (const resolve of drained) resolve()
      drained = []
    }
  }

  async function settle(batch: readonly Waiting<Item, Answer>[], mayRepeat: boolean): Promise<void> {
    try {
      const answers = await flush(batch.map((waiting) => waiting.item))
      batch.forEach((waiting, i) => waiting.resolve(answers[i]!))
    } catch (error) {
      if (isConflict(error) && mayRepeat) return settle(batch, false)
      if (isDataError(error) && batch.length > 1) {
        const middle = batch.length >> 1
        await settle(batch.slice(0, middle), true)
        return settle(batch.slice(middle), true)
      }
      for (const waiting of batch) waiting.reject(error)
    }
  }

  return {
    add,
    drain: () => (unanswered === 0 ? Promise.resolve() : new Promise((resolve) => drained.push(resolve))),
    get size() {
      return unanswered
    },
  }
}

function byKey(a: { readonly key: string }, b: { readonly key: string }): number {
  return a.key < b.key ? -1 : a.key > b.key ? 1 : 0
}
