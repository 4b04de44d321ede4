import Table from 'cli-table3'
import type { Clock } from 'trestle/testing'
import type { Api, ApiEvent, ApiQuarantined, ApiRun } from './api.ts'
import { disturbancesOf, eventsIn, type Disturbance } from './evidence.ts'
import { connectionOf, type Twins } from './twins.ts'
import type { Verdict, Witness } from './witness.ts'

/** What came of the day. Effects, calls and events in are the twins' counts, runs and events' states the platform's. */
export interface Summary {
  /** Whether every expected effect is there exactly once, nothing else is, and events in are events accounted for. */
  readonly ok: boolean
  readonly effects: Verdict
  readonly events: {
    /** Distinct events that the twins sent. */
    readonly in: number
    readonly dispatched: number
    readonly unmatched: number
    readonly quarantined: number
  }
  readonly runs: Readonly<Record<string, number>>
  readonly providers: readonly ProviderLine[]
  readonly disturbances: readonly Disturbance[]
  readonly firstEffectAfterMs: number | undefined
  readonly tookMs: number
}

interface ProviderLine {
  readonly provider: string
  readonly events: number
  readonly runs: number
  readonly calls: number
  /** Calls that failed and were made again. */
  readonly retries: number
  readonly effects: number
}

export interface SummaryParts {
  readonly twins: Twins
  readonly witness: Witness
  readonly api: Api
  readonly clock: Clock
  readonly startedAt: number
  readonly firstEffectAt: number | undefined
}

export async function summarize(parts: SummaryParts): Promise<Summary> {
  const { twins, witness, api, clock, startedAt, firstEffectAt } = parts
  const [events, runs, waiting, released] = await Promise.all([
    api.all<ApiEvent>('/events'),
    api.all<ApiRun>('/runs'),
    api.get<{ items: ApiQuarantined[] }>('/quarantine', { state: 'quarantined' }),
    api.get<{ items: ApiQuarantined[] }>('/quarantine', { state: 'released' }),
  ])
  const count = (state: ApiEvent['state']): number => events.filter((event) => event.state === state).length
  const counts = {
    in: twins.all.reduce((sum, twin) => sum + eventsSent(twin), 0),
    dispatched: count('dispatched'),
    unmatched: count('unmatched'),
    quarantined: count('quarantined'),
  }
  const effects = witness.verdict()
  const disturbances = disturbancesOf(twins, [...waiting.items, ...released.items])
  return {
    ok:
      [effects.missing, effects.doubled, effects.unasked].every((wrong) => wrong.length === 0) &&
      counts.in === counts.dispatched + counts.unmatched + counts.quarantined &&
      disturbances.every((disturbance) => disturbance.ok),
    effects,
    events: counts,
    runs: countBy(runs.map(({ state }) => state)),
    providers: twins.all.map((twin) => providerLine(twin, runs)),
    disturbances,
    firstEffectAfterMs: firstEffectAt === undefined ? undefined : firstEffectAt - startedAt,
    tookMs: clock.now() - startedAt,
  }
}

type OneTwin = Twins['all'][number]

/** Distinct events: what was delivered again, or forged, is not counted. */
function eventsSent(twin: OneTwin): number {
  return twin
    .deliveries()
    .filter(({ duplicateOf, forged }) => duplicateOf === undefined && !forged)
    .reduce((sum, delivery) => sum + eventsIn(delivery), 0)
}

function providerLine(twin: OneTwin, runs: readonly ApiRun[]): ProviderLine {
  const provider = connectionOf(twin.name)
  return {
    provider,
    events: eventsSent(twin),
    runs: runs.filter(({ event }) => event.connection === provider).length,
    calls: twin.requestCount(),
    retries: twin
      .requests()
      .filter(
        ({ status }) => status === 'reset' || status === 429 || (typeof status === 'number' && status >= 500),
      ).length,
    effects: twin.effects().length,
  }
}

function countBy(words: readonly string[]): Record<string, number> {
  const counts: Record<string, number> = {}
  for (const word of words) counts[word] = (counts[word] ?? 0) + 1
  return counts
}

/** The summary for people. */
export function summaryLines(summary: Summary): string[] {
  const { effects, events, runs, providers, disturbances } = summary
  const total = (name: 'events' | 'runs' | 'calls' | 'retries' | 'effects'): number =>
    providers.reduce((sum, line) => sum + line[name], 0)
  const names = ['events', 'runs', 'calls', 'retries', 'effects'] as const
  const out = events.dispatched + events.unmatched + events.quarantined
  return [
    table(
      ['', 'events in', 'runs', 'calls', 'retries', 'effects'],
      [
        ...providers.map((line) => [line.provider, ...names.map((name) => String(line[name]))]),
        ['together', ...names.map((name) => String(total(name)))],
      ],
    ),
    `Events: ${events.in} in ${events.in === out ? '=' : 'is not'} ${events.dispatched} dispatched + ${events.unmatched} unmatched + ${events.quarantined} quarantined`,
    `Runs: ${Object.entries(runs)
      .map(([state, times]) => `${times} ${state}`)
      .join(' + ')}`,
    `Effects: ${effects.expected} expected ${effects.expected === effects.found ? '=' : 'are not'} ${effects.found} found at the providers · ${effects.missing.length} lost · ${effects.doubled.length} twice`,
    '',
    table(
      ['went wrong on purpose', 'times', 'what came of it'],
      disturbances.map(({ what, times, outcome, ok }) => [
        what,
        String(times),
        ok ? outcome : `NOT MET: ${outcome}`,
      ]),
    ),
    ...effects.missing.map((id) => `Missing: ${id}`),
    ...effects.doubled.map((id) => `Twice: ${id}`),
    ...effects.unasked.map((id) => `Nobody asked for: ${id}`),
  ]
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const made = new Table({ head: [...head], style: { head: [], border: [] }, chars: NO_INNER_LINES })
  for (const row of rows) made.push([...row])
  return made.toString()
}

const NO_INNER_LINES = { mid: '', 'left-mid': '', 'mid-mid': '', 'right-mid': '' }
