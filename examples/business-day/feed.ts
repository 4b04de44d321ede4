import { connectionOf, type Twins } from './twins.ts'
import type { Api, ApiEvent, ApiLedgerEntry, ApiRun } from './api.ts'
import type { Screen } from './screen.ts'
import type { SeenEffect, Witness } from './witness.ts'

/**
 * Shows events with the runs that they started, and effects with the run that they are of. Effects come from the
 * twins; only which run was behind one is asked of the platform, by the ledger's copy of the request.
 */
export interface Feed {
  /** Shows what is new. */
  pull(): Promise<void>
  /** When the first effect was seen, in milliseconds since 1970. */
  firstEffectAt(): number | undefined
}

/** After so many looks an effect is shown without its run: the run may wait for long to know of it itself. */
const LOOKS_FOR_A_RUN = 8
/** Requests that are remembered, to find the run behind an effect. */
const REQUESTS_KEPT = 5000

interface Unshown {
  readonly effect: SeenEffect
  looks: number
}

export function createFeed(parts: {
  readonly api: Api
  readonly twins: Twins
  readonly witness: Witness
  readonly screen: Screen
  /** Whether lines are shown; what is new is noted all the same. */
  readonly shows: () => boolean
}): Feed {
  const { api, twins, witness, screen } = parts
  const newEvents = api.follow<ApiEvent>('/events')
  const newRuns = api.follow<ApiRun>('/runs')
  const newEntries = api.follow<ApiLedgerEntry>('/ledger')
  const runsOfEvent = new Map<string, readonly string[]>()
  const runOfRequest = new Map<string, string>()
  let unshown: Unshown[] = []
  let firstEffectAt: number | undefined

  async function pullEvents(): Promise<void> {
    // Events first: a run is committed with its event, so the runs of these are all there by then.
    const events = await newEvents()
    for (const run of await newRuns())
      runsOfEvent.set(run.event.id, [...(runsOfEvent.get(run.event.id) ?? []), run.id])
    for (const event of events) {
      const outcome = outcomeOf(event, runsOfEvent.get(event.id) ?? [])
      if (parts.shows()) screen.event(event.connection ?? '', event.summary ?? event.type, outcome)
      runsOfEvent.delete(event.id)
    }
  }

  async function pullEffects(): Promise<void> {
    const effects = witness.look()
    firstEffectAt ??= effects[0]?.at
    unshown.push(...effects.map((effect) => ({ effect, looks: 0 })))
    for (const entry of await newEntries()) {
      const request = requestOf(entry)
      // The same request of a later run changes nothing, so the first one is behind the effect.
      if (request !== undefined && entry.runId !== null && !runOfRequest.has(request))
        runOfRequest.set(request, entry.runId)
    }
    for (const old of [...runOfRequest.keys()].slice(0, Math.max(0, runOfRequest.size - REQUESTS_KEPT)))
      runOfRequest.delete(old)
    unshown = unshown.filter(({ effect }, i) => {
      const run = runOfRequest.get(requestBehind(effect, twins) ?? '')
      if (run === undefined && ++unshown[i]!.looks < LOOKS_FOR_A_RUN) return true
      if (parts.shows())
        screen.effect(
          connectionOf(effect.twin),
          plain(effect.summary),
          run ?? 'the run does not know of it yet',
        )
      return false
    })
  }

  return {
    async pull() {
      await pullEvents()
      await pullEffects()
    },
    firstEffectAt: () => firstEffectAt,
  }
}

function outcomeOf({ state, reason, reasonPath }: ApiEvent, runs: readonly string[]): string {
  if (state === 'dispatched') return runs.join(' ')
  return reason === null ? state : `${state} at ${reasonPath ?? ''}: ${reason}`
}

/** What a request is known by, on both sides: method, address and body. */
function requestOf(entry: ApiLedgerEntry): string | undefined {
  const { exchange } = (entry.detail ?? {}) as {
    exchange?: { request: { method: string; url: string; body?: { text?: string } } }
  }
  if (exchange === undefined) return undefined
  const { method, url, body } = exchange.request
  return [method, url, body?.text ?? ''].join(' ')
}

function requestBehind(effect: SeenEffect, twins: Twins): string | undefined {
  const twin = twins.all.find(({ name }) => name === effect.twin)
  const request = twin?.requests().find(({ number }) => number === effect.request)
  if (!twin || !request) return undefined
  const { method, path, query, body } = request
  return [method, `${twin.url}${path}${query === '' ? '' : `?${query}`}`, body].join(' ')
}

function plain(summary: string): string {
  return summary.replaceAll(/<br>|\s+/g, ' ')
}
