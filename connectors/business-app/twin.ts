/**
 * A twin of a business's own app: it verifies what Trestle sends by Standard Webhooks, deduplicates by `webhook-id`,
 * keeps records, and emits events as CloudEvents, either to `POST /api/v1/events` with a token or, signed, to a
 * webhook endpoint.
 */
import {
  createKeyStore,
  createTwin,
  signPayload,
  systemClock,
  type Clock,
  type SendingPolicy,
  type SourceDelivery,
  type Twin,
} from 'trestle/testing'
import { DAY, signatureSchemes } from 'trestle'
import type { Appointment } from './contracts.ts'
import { businessRoutes, problem, type BusinessState } from './twin/routes.ts'
import { refusalOf } from './twin/signature.ts'

/** Where the app emits its events: with an API token, or signed. */
export type EmitTo =
  | { readonly url: string; readonly token: string }
  | { readonly url: string; readonly secret: string }

export interface BusinessAppTwinOptions {
  readonly clock?: Clock
  readonly seed?: string
  /** The secret with which Trestle signs, `whsec_…`. */
  readonly signingSecret?: string
  readonly emitTo?: EmitTo
  readonly witnessFile?: string
  readonly webhooks?: SendingPolicy
}

export type AppointmentEvent =
  | 'appointment.booked'
  | 'appointment.completed'
  | 'appointment.no_show'
  | 'appointment.cancelled'

export interface BusinessAppTwin extends Twin<BusinessState> {
  readonly signingSecret: string
  /** Where events go from now on. */
  emitsTo(target: EmitTo): void
  /** Says what happened to an appointment. What is left out is filled in. Gives the appointment as it was sent. */
  emitAppointment(type: AppointmentEvent, appointment: Partial<Appointment>): Appointment
  /** Several CloudEvents in one delivery. */
  emitBatch(batch: readonly { type: AppointmentEvent; appointment: Partial<Appointment> }[]): void
  /** Resolves when every event was delivered or given up. Gives the source ledger. */
  settled(): Promise<readonly SourceDelivery[]>
}

/** Begins every event's type and source, as an app's own names do. */
const PREFIX = 'com.example'

export function createBusinessAppTwin(options: BusinessAppTwinOptions = {}): BusinessAppTwin {
  const clock = options.clock ?? systemClock
  const signingSecret =
    options.signingSecret ?? `whsec_${Buffer.from('a secret of the twin app').toString('base64')}`
  let target = options.emitTo
  const keys = createKeyStore({
    clock,
    lifetimeMs: 7 * DAY,
    remembers: ({ status }) => status < 300,
    onMismatch: () => ({ status: 409, json: problem(409, 'This webhook-id came before with another body.') }),
    onInFlight: () => ({ status: 503, json: problem(503, 'This webhook-id is being worked on.') }),
  })
  const twin: Twin<BusinessState> = createTwin<BusinessState>({
    name: 'business-app',
    state: { events: [], records: new Map() },
    clock,
    seed: options.seed,
    routes: businessRoutes(() => twin.newId('rec_', 16), keys),
    authorize: (request) => {
      const reason = refusalOf(request, signingSecret)
      return reason === undefined ? undefined : { status: 401, json: problem(401, reason) }
    },
    errorBody: problem,
    actions: {
      emitAppointment: ({
        type,
        appointment = {},
      }: {
        type: AppointmentEvent
        appointment?: Partial<Appointment>
      }) => app.emitAppointment(type, appointment),
      emitBatch: (batch: Parameters<BusinessAppTwin['emitBatch']>[0]) => app.emitBatch(batch),
      emitsTo: (given: EmitTo) => app.emitsTo(given),
    },
    webhooks: options.webhooks,
    witnessFile: options.witnessFile,
  })

  const cloudEvent = (type: AppointmentEvent, data: Appointment) => ({
    specversion: '1.0',
    id: twin.newId('', 20),
    source: `https://${PREFIX.split('.').reverse().join('.')}/appointments`,
    type: `${PREFIX}.${type}`,
    time: new Date(clock.now()).toISOString(),
    datacontenttype: 'application/json',
    data,
  })
  const whole = (given: Partial<Appointment>): Appointment => ({
    id: twin.newId('apt_', 10),
    customer: { name: 'Ada Lovelace', email: 'ada@example.com', phone: '+15550100' },
    service: 'Haircut',
    startsAt: new Date(clock.now() - 3_600_000).toISOString(),
    endsAt: new Date(clock.now()).toISOString(),
    price: { amount: 4500, currency: 'usd' },
    ...given,
  })
  const emit = (body: string, contentType: string, eventId: string): void => {
    if (!target)
      throw new Error('The twin app does not know where its events go. Call emitsTo({ url, token }).')
    const to = target
    void twin.webhooks.send({
      url: to.url,
      body,
      contentType,
      eventId,
      sign: signer(to, body, contentType, eventId),
    })
  }

  const added = {
    signingSecret,
    emitsTo(given: EmitTo) {
      target = given
    },
    emitAppointment(type: AppointmentEvent, given: Partial<Appointment>) {
      const data = whole(given)
      const event = cloudEvent(type, data)
      emit(JSON.stringify(event), 'application/cloudevents+json', event.id)
      return data
    },
    emitBatch(batch: readonly { type: AppointmentEvent; appointment: Partial<Appointment> }[]) {
      const events = batch.map(({ type, appointment }) => cloudEvent(type, whole(appointment)))
      emit(JSON.stringify(events), 'application/cloudevents-batch+json', events.map(({ id }) => id).join(','))
    },
    async settled() {
      await twin.webhooks.idle()
      return twin.deliveries()
    },
  }
  const app = Object.defineProperties(twin, Object.getOwnPropertyDescriptors(added)) as BusinessAppTwin
  return app
}

/** How one event shows who sends it. A forged one is signed over another body, or has another token. */
function signer(to: EmitTo, body: string, contentType: string, id: string) {
  return (given: string, at: number) => {
    if ('token' in to) return { headers: { authorization: `Bearer ${given === body ? to.token : 'forged'}` } }
    const payload = { url: to.url, body: given, at, contentType, id: `msg_${id.replaceAll(',', '_')}` }
    return signPayload(signatureSchemes.standardWebhooks, payload, [to.secret])
  }
}

export type { BusinessState, StoredRecord } from './twin/routes.ts'
