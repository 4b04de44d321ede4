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
  readonly platform: Platform
  readonly screen: Screen
  readonly clock: Clock
  readonly pause: (ms: number) => Promise<void>
}

/** After the day: payments keep coming, and whoever watches breaks things by keys. */
export interface Evening {
  press(key: string): void
  stop(): void
}

const PAYMENT_EVERY_MS = 700
const STORM = 150
/** HubSpot and Twilio can be asked whether something was done only when their search has caught up. */
const PATIENCE_MS = 6 * 60_000
const STILL_OPEN_AFTER_MS = 30_000

export const KEYS = 'o QuickBooks down/up · d duplicate storm · k kill a worker · q quit'

export function spendEvening(parts: EveningParts): Evening {
  const { twins, salon, witness, platform, screen, clock, pause } = parts
  const payer = inTurn(CUSTOMERS)
  const random = seededRandom('evening')
  const state = { over: false, downSince: undefined as number | undefined }

  const pay = (): void => {
    if (state.over) return
    salon.pays(payer(), 1000 + Math.floor(random.next() * 90) * 100)
    clock.after(PAYMENT_EVERY_MS, pay)
  }

  /** Waits until everything has come of these, and says what the twins saw. */
  async function report(after: string, concerned: readonly Happening[]): Promise<void> {
    const from = clock.now()
    let told = false
    const open = (): Happening[] => concerned.filter((one) => witness.doneAt(one) === undefined)
    while (!state.over && open().length > 0 && clock.now() - from < PATIENCE_MS) {
      if (!told && clock.now() - from > STILL_OPEN_AFTER_MS) {
        told = true
        screen.line(
          `${after}: ${open().length} still open. What may have been done already is asked for first, and a provider's search takes minutes to know.`,
        )
      }
      await pause(100)
    }
    const { doubled } = witness.verdict()
    const waitedMs = Math.max(0, ...concerned.map((one) => (witness.doneAt(one) ?? clock.now()) - one.at))
    const line = `${after}: ${concerned.length} waited ${Math.round(waitedMs / 1000)} s · ${open().length} lost · ${doubled.length} twice`
    if (open().length + doubled.length === 0) screen.good(line)
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
    witness.look()
    const concerned = witness.unfinished()
    twins.quickbooks.faults.down(false)
    screen.line(
      `QuickBooks is back after ${seconds} s. The platform finds out by itself, with single calls first.`,
    )
    await report('Outage', concerned)
  }

  async function storm(): Promise<void> {
    const earlier = [twins.stripe, twins.calcom, twins.app].flatMap((twin) =>
      twin
        .deliveries()
        .filter(({ forged, duplicateOf }) => !forged && duplicateOf === undefined)
        .map(({ number }) => ({ twin, number })),
    )
    const again = earlier.slice(-STORM)
    screen.warning(`A storm of ${again.length} duplicates is sent.`)
    witness.look()
    const concerned = witness.unfinished()
    const deliveries = await Promise.all(again.map(({ twin, number }) => twin.webhooks.resend(number)))
    const accepted = deliveries.filter(({ state }) => state === 'delivered').length
    await report(`Storm of ${again.length}, ${accepted} answered 2xx`, concerned)
  }

  async function kill(): Promise<void> {
    witness.look()
    const concerned = witness.unfinished()
    screen.warning(`Worker ${platform.killWorker()} is killed with SIGKILL.`)
    await pause(PAYMENT_EVERY_MS)
    await report('Kill', [...new Set([...concerned, ...witness.unfinished()])])
  }

  const actions: Readonly<Record<string, () => Promise<void>>> = { o: outage, d: storm, k: kill }
  const status = (): void => {
    if (state.over) return
    const open = witness.unfinished().length
    screen.status(`${witness.happenings().length} happened, ${open} under way · ${KEYS}`)
    clock.after(250, status)
  }
  clock.after(PAYMENT_EVERY_MS, pay)
  status()

  return {
    press(key) {
      actions[key]?.().catch((error: unknown) => screen.warning(String(error)))
    },
    stop() {
      state.over = true
      screen.status(undefined)
    },
  }
}
