import type { Clock } from 'trestle/testing'
import type { Api, ApiQuarantined, ApiRun } from './api.ts'
import type { Screen } from './screen.ts'
import type { Twins } from './twins.ts'
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

  return {
    settled: (happenings) =>
      until(() =>
        (happenings ?? witness.unfinished()).every((happening) => witness.doneAt(happening) !== undefined),
      ),
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
