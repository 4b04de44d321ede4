import { seededRandom, type Clock } from 'trestle/testing'
import type { Salon } from './happenings.ts'
import { CUSTOMERS, inTurn } from './people.ts'
import type { Platform } from './platform.ts'
import type { Screen } from './screen.ts'
import type { Twins } from './twins.ts'
import type { Happening, Witness } from './witness.ts'

export interface EveningParts {
  readonly twins: Twins
  readonly salon: Salon
  readonly witness: Witness
  readonly platform: Pick<Platform, 'killWorker'>
  readonly screen: Screen
  readonly clock: Clock
  readonly pause: (ms: number) => Promise<void>
}

/** After the day: payments keep coming, and whoever watches breaks things by keys. */
export interface Evening {
  /** Resolves when what the key sets going is over and reported. Other keys do nothing. */
  press(key: string): Promise<void>
  stop(): void
}

const PAYMENT_EVERY_MS = 700
/** Deliveries that are sent again at once. */
const STORM = 150
/** Payments that come in at once before a worker is killed, so that it has something in its hands. */
const RUSH = 20
/** HubSpot and Twilio can be asked whether something was done only when their search has caught up. */
const PATIENCE_MS = 6 * 60_000
const SAID_AFTER_MS = 15_000

const LONGER_TRIES = 'What failed is tried again, less often the longer it fails.'
const ASKED_FIRST =
  'Where a note may have been made already, HubSpot is asked before it is made again, and its search takes minutes to know.'

export const KEYS = 'o QuickBooks down/up · d duplicate storm · k kill a worker · q quit'

export function spendEvening(parts: EveningParts): Evening {
  const { twins, salon, witness, platform, screen, clock, pause } = parts
  const payer = inTurn(CUSTOMERS)
  const random = seededRandom('evening')
  const state = { over: false, downSince: undefined as number | undefined }

  const pay = (): Happening => salon.pays(payer(), 1000 + Math.floor(random.next() * 90) * 100)
  const underWay = (): readonly Happening[] => {
    witness.look()
    return witness.unfinished()
  }
  const openOf = (concerned: readonly Happening[]): number =>
    concerned.filter((one) => witness.doneAt(one) === undefined).length

  /** Waits until everything has come of these, and says what the twins saw. */
  async function report(what: string, concerned: readonly Happening[], meanwhile: string): Promise<void> {
    const from = clock.now()
    let [open, since, said] = [openOf(concerned), from, false]
    while (open > 0 && clock.now() - from < PATIENCE_MS) {
      await pause(100)
      if (openOf(concerned) !== open) [open, since] = [openOf(concerned), clock.now()]
      if (open > 0 && !said && clock.now() - since > SAID_AFTER_MS) {
        said = true
        screen.line(`${what}${concerned.length - open} done, ${open} to come. ${meanwhile}`)
      }
    }
    const { doubled } = witness.verdict()
    const waitedMs = Math.max(0, ...concerned.map((one) => (witness.doneAt(one) ?? clock.now()) - one.at))
    const waited =
      concerned.length === 0 ? '' : `${concerned.length} waited ${Math.round(waitedMs / 1000)} s · `
    const line = `${what}${waited}${open} lost · ${doubled.length} twice`
    if (open + doubled.length === 0) screen.good(line)
    else screen.warning(line)
  }

  async function outage(): Promise<void> {
    if (state.downSince === undefined) {
      state.downSince = clock.now()
      twins.quickbooks.faults.down(true)
      screen.warning('QuickBooks is down: it answers 503. Payments go on. Press o again to bring it back.')
      return
    }
    const seconds = Math.round((clock.now() - state.downSince) / 1000)
    state.downSince = undefined
    const concerned = underWay()
    twins.quickbooks.faults.down(false)
    screen.line(
      `QuickBooks is back after ${seconds} s. The platform finds out by itself, with single calls first.`,
    )
    await report('Outage: ', concerned, LONGER_TRIES)
  }

  async function storm(): Promise<void> {
    const again = [twins.stripe, twins.calcom, twins.app]
      .flatMap((twin) =>
        twin
          .deliveries()
          .filter(({ forged, duplicateOf }) => !forged && duplicateOf === undefined)
          .map(({ number }) => ({ twin, number })),
      )
      .slice(-STORM)
    const concerned = underWay()
    screen.warning(`${again.length} events are delivered again, all at once.`)
    const deliveries = await Promise.all(again.map(({ twin, number }) => twin.webhooks.resend(number)))
    const accepted = deliveries.filter((delivery) => delivery.state === 'delivered').length
    await report(`Storm: ${accepted} of ${again.length} duplicates answered 2xx · `, concerned, LONGER_TRIES)
  }

  async function kill(): Promise<void> {
    const before = twins.quickbooks.effects().length
    const rush = Array.from({ length: RUSH }, pay)
    while (twins.quickbooks.effects().length === before && openOf(rush) > 0) {
      await pause(5)
      witness.look()
    }
    const concerned = underWay()
    const pid = platform.killWorker()
    screen.warning(`${RUSH} payments at once, and in the middle of them worker ${pid} is killed (SIGKILL).`)
    await report('Kill: ', concerned, ASKED_FIRST)
  }

  const actions: Readonly<Record<string, () => Promise<void>>> = { o: outage, d: storm, k: kill }
  const goOn = (everyMs: number, work: () => unknown): void => {
    clock.after(everyMs, () => {
      if (state.over) return
      work()
      goOn(everyMs, work)
    })
  }
  goOn(PAYMENT_EVERY_MS, pay)
  goOn(250, () =>
    screen.status(
      `${witness.happenings().length} happened, ${witness.unfinished().length} under way · ${KEYS}`,
    ),
  )

  return {
    press: async (key) => actions[key]?.(),
    stop() {
      state.over = true
      screen.status(undefined)
    },
  }
}
