import type { Clock } from 'trestle/testing'
import type { Api, ApiQuarantined, ApiRun } from './api.ts'
import type { Screen } from './screen.ts'
import { connectionOf, type Twins } from './twins.ts'
import type { Happening, Witness } from './witness.ts'

export const LOOK_EVERY_MS = 200
/** Without anything new for so long, what is missing will not come. */
const PATIENCE_MS = 60_000

export interface Waits {
  /** Until everything has come of these happenings, or of all so far; or nothing has come for too long. */
  settled(happenings?: readonly Happening[]): Promise<void>
  /** Until no run is under way: they read and write on after their last effect. */
  runsAtRest(): Promise<void>
  /** Until a run is held for an answer in quarantine: a person finds it harmless and lets it pass. */
  releaseAnswer(): Promise<void>
}

export function createWaits(parts: {
  readonly twins: Twins
  readonly witness: Witness
  readonly api: Api
  readonly screen: Screen
  readonly clock: Clock
  readonly pause: (ms: number) => Promise<void>
}): Waits {
  const { twins, witness, api, screen, clock, pause } = parts
  const effects = (): number => twins.all.reduce((sum, twin) => sum + twin.effects().length, 0)

  /** Asks again and again. Gives up where no effect has come for too long. */
  async function until(isSo: () => Promise<boolean> | boolean): Promise<void> {
    let [seen, at] = [effects(), clock.now()]
    while (!(await isSo())) {
      if (effects() !== seen) [seen, at] = [effects(), clock.now()]
      if (clock.now() - at > PATIENCE_MS) return
      await pause(LOOK_EVERY_MS)
    }
  }

  /**
   * Cal.com sends a webhook once, whatever the answer. Where a busy machine could not take it in time, and said so by
   * a 503, somebody has to send it again; so is done at any provider that has given up.
   */
  function sendAgain(): void {
    for (const twin of twins.all) {
      const deliveries = twin.deliveries()
      for (const { number, forged, duplicateOf, state, attempts } of deliveries) {
        if (state !== 'given_up' || forged || duplicateOf !== undefined) continue
        if (deliveries.some((later) => later.duplicateOf === number && later.state !== 'given_up')) continue
        screen.warning(
          `          ${connectionOf(twin.name)} was answered ${attempts.at(-1)?.status ?? 'nothing'} and has given up. Somebody sends it again.`,
        )
        void twin.webhooks.resend(number)
      }
    }
  }

  return {
    settled: (happenings) =>
      until(() => {
        sendAgain()
        return (happenings ?? witness.unfinished()).every(
          (happening) => witness.doneAt(happening) !== undefined,
        )
      }),
    runsAtRest: () =>
      until(async () => {
        const runs = await api.all<ApiRun>('/runs')
        return runs.every(({ state }) => AT_REST.includes(state))
      }),
    releaseAnswer: () =>
      until(async () => {
        const held = await api.all<ApiRun>('/held-runs')
        const { items } = await api.get<{ items: ApiQuarantined[] }>('/quarantine')
        const answer = items.find(
          ({ kind, runId }) => kind === 'answer' && held.some(({ id }) => id === runId),
        )
        if (!answer) return false
        screen.warning(
          `          held: an answer lacks ${answer.path}. A person looks, and lets it pass (${answer.runId})`,
        )
        await api.post(`/quarantine/${answer.id}/release`)
        return true
      }),
  }
}

const AT_REST = ['succeeded', 'held', 'dead_lettered', 'cancelled', 'undone']
