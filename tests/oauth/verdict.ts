import type { CrashPoint } from '../../src/base/index.ts'
import type { WitnessLine } from './witness.ts'

/** One question to the token endpoint, put together from the witness's lines. Times in ms since 1970. */
export interface Exchange {
  readonly connection: string
  readonly node: string
  readonly token: string
  readonly askedAt: number
  readonly slow: boolean
  /** Of the authorization server; `undefined` where it never heard of it. */
  readonly status?: number
  /** When all was over: handed, or withdrawn. */
  readonly endedAt: number
  /** The answer went into a connection that was open to its end. */
  readonly whole: boolean
}

/** A place of a refresh that a node came to. */
export interface Reached {
  readonly node: string
  readonly connection: string
  readonly point: CrashPoint
  readonly at: number
}

/** What is judged: the witness's book, the nodes' journals, who died when, and what the platform said. */
export interface Evidence {
  readonly exchanges: readonly Exchange[]
  readonly reached: readonly Reached[]
  /** Nodes that were killed. */
  readonly deaths: ReadonlyMap<string, number>
  /** A connection was found to need a person. */
  readonly refusals: readonly { readonly connection: string; readonly at: number }[]
  /** Somebody outside was told of such a connection. */
  readonly told: readonly { readonly connection: string; readonly at: number }[]
  /** Successful calls. */
  readonly successes: readonly { readonly connection: string; readonly at: number }[]
  readonly leaseMs: number
}

export interface Verdict {
  /** Grants that were renewed. */
  readonly expiries: number
  readonly questions: number
  readonly askedOnce: number
  /** Expiries that were asked for again because who asked first was killed before the server had heard of it. */
  readonly askedAgain: number
  /** Grants whose answer was lost with its node, as the witness can prove. */
  readonly lost: number
  /** Connections that were believed dead for no reason that the witness knows. */
  readonly diedWithoutReason: number
  /** Until somebody was told of each of these, from its node's death. */
  readonly toldMs: readonly number[]
  /** From when the grant could be used or renewed after a death until the next call was good. */
  readonly recoveredMs: readonly number[]
  /** Questions that should not have been put, in words; `broken` has them too. */
  readonly askedTooOften: readonly string[]
  /** Promises that were broken, in words. */
  readonly broken: readonly string[]
}

export function exchangesOf(lines: readonly WitnessLine[]): Exchange[] {
  const found = new Map<number, Exchange>()
  for (const line of lines) {
    const known = found.get(line.number)
    if (line.as === 'asked') {
      const { connection, node, token, at, slow } = line
      found.set(line.number, {
        connection,
        node,
        token,
        askedAt: at,
        slow: slow !== 'not',
        endedAt: Number.POSITIVE_INFINITY,
        whole: false,
      })
    } else if (known && line.as === 'answered') found.set(line.number, { ...known, status: line.status })
    else if (known && line.as === 'withdrawn') found.set(line.number, { ...known, endedAt: line.at })
    else if (known && line.as === 'handed')
      found.set(line.number, { ...known, endedAt: line.at, whole: line.whole })
  }
  return [...found.values()]
}

export function judge(evidence: Evidence): Verdict {
  const lost: Exchange[] = []
  const askedFor = groupBy(evidence.exchanges, (one) => `${one.connection}/${one.token}`)
  const askedTooOften = [...askedFor.values()].flatMap((questions) => judgeToken(evidence, questions, lost))
  const broken = [...askedTooOften]
  const unexplained = unexplainedIn(evidence.refusals, lost)
  for (const { connection } of unexplained)
    broken.push(`${connection} was believed dead, and no answer for it was lost`)
  const toldMs = lost.map((one) => toldAfterMs(evidence, one)).filter((ms) => ms !== undefined)
  if (toldMs.length < lost.length)
    broken.push(`${lost.length - toldMs.length} lost grants were told to nobody`)
  const renewed = [...askedFor.values()].filter((questions) => questions.some(wasGranted))
  return {
    expiries: renewed.length,
    questions: evidence.exchanges.length,
    askedOnce: renewed.filter((questions) => questions.length === 1).length,
    askedAgain: renewed.filter((questions) => questions.length > 1 && wasGranted(questions.at(-1)!)).length,
    lost: lost.length,
    diedWithoutReason: unexplained.length,
    toldMs,
    recoveredMs: recoveriesOf(evidence, lost),
    askedTooOften,
    broken,
  }
}

/** The questions that were put with one refresh token, in their order. Notes the answer that was lost, if one was. */
function judgeToken(evidence: Evidence, questions: readonly Exchange[], lost: Exchange[]): string[] {
  const broken: string[] = []
  for (const [i, first] of questions.entries()) {
    const next = questions[i + 1]
    if (next === undefined) break
    const where = `${first.connection}, token ${first.token}, asked by ${first.node} and then ${next.node}`
    const died = evidence.deaths.get(first.node)
    if (died === undefined || died > next.askedAt) broken.push(`${where}: asked again while the first lived`)
    else if (wasGranted(first)) {
      if (hasReached(evidence, first, 'refresh.kept'))
        broken.push(`${where}: asked again although the answer was committed`)
      else if (!lost.some((one) => one.connection === first.connection && one.token === first.token))
        lost.push(first)
    }
  }
  return broken
}

/** Each lost answer explains that its connection was believed dead once, afterwards. */
function unexplainedIn(refusals: Evidence['refusals'], lost: readonly Exchange[]): Evidence['refusals'] {
  return refusals.filter(({ connection, at }) => {
    const before = refusals.filter((one) => one.connection === connection && one.at <= at)
    const reasons = lost.filter((one) => one.connection === connection && one.askedAt < at)
    return reasons.length < before.length
  })
}

function wasGranted({ status }: Exchange): boolean {
  return status === 200
}

function hasReached(
  { reached }: Evidence,
  { node, connection, askedAt }: Exchange,
  point: CrashPoint,
): boolean {
  return reached.some(
    (one) => one.node === node && one.connection === connection && one.point === point && one.at >= askedAt,
  )
}

function toldAfterMs({ deaths, told }: Evidence, { node, connection }: Exchange): number | undefined {
  const died = deaths.get(node)!
  const first = told.find((one) => one.connection === connection && one.at >= died)
  return first && Math.round(first.at - died)
}

/**
 * For each refresh that died with its node, and whose grant lived: how long the next good call took from when it could
 * have been. That is at once where the answer was kept or the turn not even taken; else when the turn has ended, and
 * what the token endpoint takes to answer the next question does not count.
 */
function recoveriesOf(evidence: Evidence, lost: readonly Exchange[]): number[] {
  const { reached, deaths, successes, exchanges, leaseMs } = evidence
  const recoveries: number[] = []
  for (const [node, died] of deaths)
    for (const [connection, places] of groupBy(
      reached.filter((one) => one.node === node),
      (one) => one.connection,
    )) {
      const last = places.at(-1)!
      const isLost = lost.some((one) => one.node === node && one.connection === connection)
      if (isLost || last.point === 'refresh.saved') continue
      const freeAt = last.point === 'refresh.kept' ? died : Math.max(died, takenAt(places) + leaseMs)
      const good = successes.find((one) => one.connection === connection && one.at > died)
      if (good === undefined) continue
      const asked = exchanges.filter(
        (one) => one.connection === connection && one.askedAt > died && one.askedAt < good.at,
      )
      // Another death on the same connection has its own recovery.
      if (asked.some((one) => deaths.has(one.node))) continue
      const thought = asked.reduce((sum, one) => sum + (one.endedAt - one.askedAt), 0)
      recoveries.push(Math.max(0, good.at - freeAt - thought))
    }
  return recoveries
}

function takenAt(places: readonly Reached[]): number {
  return places.findLast((one) => one.point === 'refresh.taken')?.at ?? places.at(-1)!.at
}

function groupBy<Item>(items: readonly Item[], keyOf: (item: Item) => string): Map<string, Item[]> {
  const groups = new Map<string, Item[]>()
  for (const item of items) {
    const key = keyOf(item)
    const group = groups.get(key)
    if (group) group.push(item)
    else groups.set(key, [item])
  }
  return groups
}
