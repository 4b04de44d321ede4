import type { History, NamedRun, WitnessedEffect, WitnessedRequest } from './history.ts'

/** Something that was to happen and is accounted for in another way. */
export interface Accounted {
  /** `'invoice.created at quickbooks'` */
  readonly what: string
  readonly run: string
  readonly how: 'held' | 'quarantined' | 'dead_letter' | 'undone' | 'skipped'
  readonly reason: string
}

/** How the effects of a drill compare with those of the undisturbed run of the same events. */
export interface Verdict {
  /** Effects that the undisturbed run had. */
  readonly expected: number
  /** Of those, there exactly once. */
  readonly once: number
  readonly lost: readonly string[]
  readonly twice: readonly string[]
  /** There, though the undisturbed run did not have them. */
  readonly unasked: readonly string[]
  readonly accounted: readonly Accounted[]
  /** Effects of operations that only set a value, which happened again: the state is the same. */
  readonly repeatedHarmlessly: number
  /** Runs that were neither over nor held at the end. */
  readonly unfinished: readonly string[]
  /** Webhooks that the platform never took. */
  readonly refused: number
}

/** Compares the twins' logs. Runs are matched by what they are for, never by ids or order. */
export function compare(undisturbed: History, disturbed: History, poisoned: ReadonlySet<string>): Verdict {
  const wanted = countsOf(undisturbed.effects)
  const found = countsOf(disturbed.effects)
  const runs = groupBy(disturbed.runs, ({ name }) => name)
  const lost: string[] = []
  const twice: string[] = []
  const unasked: string[] = []
  const accounted: Accounted[] = []
  let once = 0
  let repeatedHarmlessly = 0

  const missing: WitnessedEffect[] = []
  const extra: WitnessedEffect[] = []
  for (const [key, effects] of wanted) {
    const times = found.get(key)?.length ?? 0
    once += Math.min(times, effects.length)
    for (let i = times; i < effects.length; i++) missing.push(effects[i]!)
  }
  for (const [key, effects] of found) {
    const times = wanted.get(key)?.length ?? 0
    for (let i = times; i < effects.length; i++) extra.push(effects[i]!)
  }
  // Where two runs need the same thing made, either of them may be the one that makes it.
  const moved = new Set<WitnessedEffect>()
  for (const effect of missing) {
    const other = extra.findIndex(
      (one) =>
        one.connection === effect.connection && one.kind === effect.kind && one.summary === effect.summary,
    )
    if (other < 0) continue
    extra.splice(other, 1)
    moved.add(effect)
    once++
  }
  const answered = new Set(disturbed.requests.filter(({ status }) => isTaken(status ?? 0)).map(callOf))
  for (const effect of missing.filter((one) => !moved.has(one))) {
    // What may be done again any number of times was asked for, and the provider had nothing left to change.
    if (effect.natural && answered.has(callOf(effect))) {
      once++
      continue
    }
    const told = accountFor(effect, runs.get(effect.run ?? ''), disturbed, poisoned)
    if (told) accounted.push(told)
    else lost.push(wordsOf(effect))
  }
  for (const effect of extra) {
    const ended = runs.get(effect.run ?? '')?.map(({ state }) => state) ?? []
    if (effect.natural) repeatedHarmlessly++
    else if (ended.includes('undone') || ended.includes('cancelled')) continue
    else if (wanted.has(keyOf(effect))) twice.push(wordsOf(effect))
    else unasked.push(wordsOf(effect))
  }
  for (const { connection, kind, summary } of newlyRepeated(undisturbed, disturbed))
    twice.push(`${kind} at ${connection}: ${summary}`)
  return {
    expected: [...wanted.values()].reduce((sum, effects) => sum + effects.length, 0),
    once,
    lost,
    twice: [...new Set(twice)],
    unasked,
    accounted,
    repeatedHarmlessly,
    unfinished: disturbed.runs
      .filter(({ state }) => !RESTS.has(state))
      .map(({ name, state, reason }) => `${name}: ${state}${reason === null ? '' : `, ${reason}`}`),
    refused: disturbed.mail.filter(({ answers }) => !answers.some(isTaken)).length,
  }
}

const RESTS = new Set(['succeeded', 'undone', 'dead_lettered', 'cancelled', 'held'])

function isTaken(answer: number | string): boolean {
  return typeof answer === 'number' && answer >= 200 && answer < 300
}

/** What a twin saw twice by its own measure, beyond what it saw in the undisturbed run. */
function newlyRepeated(undisturbed: History, disturbed: History): History['repeated'] {
  const known = undisturbed.repeated.map(({ connection, kind }) => `${connection} ${kind}`)
  return disturbed.repeated.filter(({ connection, kind }) => {
    const i = known.indexOf(`${connection} ${kind}`)
    if (i >= 0) known.splice(i, 1)
    return i < 0
  })
}

function countsOf(effects: readonly WitnessedEffect[]): ReadonlyMap<string, WitnessedEffect[]> {
  return groupBy(
    effects.filter(({ run }) => run !== undefined),
    keyOf,
  )
}

function keyOf({ connection, kind, run, step }: WitnessedEffect): string {
  return [connection, kind, run, step].join('\n')
}

function callOf({ connection, run, step }: Pick<WitnessedRequest, 'connection' | 'run' | 'step'>): string {
  return [connection, run, step].join('\n')
}

function wordsOf({ connection, kind, summary, run }: WitnessedEffect): string {
  return `${kind} at ${connection}: ${summary}${run === undefined ? '' : ` (${run})`}`
}

/** Why an effect is not there, where that is on record. */
function accountFor(
  effect: WitnessedEffect,
  runs: readonly NamedRun[] | undefined,
  history: History,
  poisoned: ReadonlySet<string>,
): Accounted | undefined {
  const what = `${effect.kind} at ${effect.connection}`
  const name = effect.run ?? ''
  if (runs === undefined) {
    // Where in its delivery the event was does not matter here.
    const cause = (name.split(' ← ')[1] ?? '').replace(/ at \/.*$/, '')
    const [kept] = history.quarantine.filter(({ kind }) => kind === 'event')
    if (!kept || !poisoned.has(cause)) return undefined
    return { what, run: name, how: 'quarantined', reason: `${kept.path}: ${kept.reason}` }
  }
  for (const { state, reason, skipped } of runs) {
    if (skipped.includes(effect.step ?? ''))
      return {
        what,
        run: name,
        how: 'skipped',
        reason: 'It was too late for it: the flow says to leave it out then (validUntil).',
      }
    if (reason === null) continue
    if (state === 'held') return { what, run: name, how: 'held', reason }
    if (state === 'dead_lettered') return { what, run: name, how: 'dead_letter', reason }
    if (state === 'undone') return { what, run: name, how: 'undone', reason }
  }
  return undefined
}

function groupBy<Item>(items: readonly Item[], nameOf: (item: Item) => string): Map<string, Item[]> {
  const groups = new Map<string, Item[]>()
  for (const item of items) {
    const key = nameOf(item)
    const group = groups.get(key)
    if (group) group.push(item)
    else groups.set(key, [item])
  }
  return groups
}
