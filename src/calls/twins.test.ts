import { afterEach, describe, expect, it } from 'vitest'
import { hubspot } from 'trestle/connectors/hubspot'
import { createHubspotTwin } from 'trestle/connectors/hubspot/twin'
import { quickbooks } from 'trestle/connectors/quickbooks'
import { createQuickbooksTwin } from 'trestle/connectors/quickbooks/twin'
import { stripe } from 'trestle/connectors/stripe'
import { createStripeTwin } from 'trestle/connectors/stripe/twin'
import { HOUR, MINUTE } from '../base/index.ts'
import type { AnyConnector } from '../define/index.ts'
import { createFakeClock, repeatedEffects, type FakeClock, type Twin } from '../testing/index.ts'
import { BEGUN, openCalls } from './calls.fixture.ts'
import type { CallOutcome, CallRequest } from './index.ts'

const open: { close(): Promise<unknown> }[] = []
afterEach(async () => {
  for (const thing of open.splice(0).reverse()) await thing.close()
})

interface Setting {
  readonly connector: AnyConnector
  readonly twin: Twin
  readonly token: () => string
  readonly settings?: Readonly<Record<string, string>>
  readonly clock: FakeClock
}

/** Real connectors over real sockets to the providers' twins; the vault is one token. */
async function set({ connector, twin, token, settings = {}, clock }: Setting) {
  const url = await twin.start()
  const calls = openCalls(clock, {
    authorize: async (_, request) => ({
      ...request,
      headers: { ...request.headers, authorization: `Bearer ${token()}` },
      secretHeaders: ['authorization'],
      credentialVersion: '1',
    }),
    secretValuesOf: async () => [token()],
    refreshAfterUnauthorized: async () => ({
      as: 'refused',
      code: 'credential_refused',
      reason: 'Give another.',
    }),
  })
  open.push({ close: () => twin.stop() }, calls)
  const connection = {
    id: 'con_1',
    name: twin.name,
    tenant: 'default',
    connector,
    baseUrl: url,
    settings,
    allowPrivate: true,
  }
  const call = (
    operationName: string,
    input: unknown,
    over: Partial<CallRequest> = {},
  ): Promise<CallOutcome> =>
    calls.call({
      tenant: 'default',
      connection,
      operationName,
      operation: connector.operationsByName.get(operationName)!,
      input,
      idempotencyKey: 'k'.repeat(43),
      begunAt: BEGUN,
      runId: 'run_1',
      stepName: operationName,
      attempt: 1,
      kind: 'send',
      ...over,
    })
  const check = (): Promise<CallOutcome> => calls.testConnection(connection)
  return { call, check }
}

const ada = { email: 'ada@example.com', name: 'Ada Lovelace' }

describe('Stripe: a key, with stored errors', () => {
  async function stripeSet(apiKey = 'sk_test_twin') {
    const clock = createFakeClock(BEGUN)
    const twin = createStripeTwin({ clock })
    return { twin, clock, ...(await set({ connector: stripe, twin, token: () => apiKey, clock })) }
  }

  it('a lost answer is in doubt, and the same key gives the answer without doing it twice', async () => {
    const { twin, call } = await stripeSet()
    twin.faults.resetAfterActing(1)
    expect(await call('customers.create', ada)).toMatchObject({ as: 'in_doubt', code: 'connection_lost' })
    expect(await call('customers.create', ada, { attempt: 2 })).toMatchObject({
      as: 'succeeded',
      output: { email: ada.email },
    })
    expect(twin.effects()).toHaveLength(1)
    const [first, second] = twin.requests()
    expect(second).toMatchObject({ path: first!.path, body: first!.body })
    expect(second!.headers['idempotency-key']).toBe(first!.headers['idempotency-key'])
  })

  it('a stored 500 stays in doubt: it never asks for a new key', async () => {
    const { twin, call } = await stripeSet()
    twin.faults.failNext(1, 500, { inside: true })
    expect(await call('customers.create', ada)).toMatchObject({ as: 'in_doubt', exchange: { status: 500 } })
    expect(await call('customers.create', ada, { attempt: 2 })).toMatchObject({
      as: 'in_doubt',
      code: 'stored_error',
    })
  })

  it('a 429 is a retry at the time that it names', async () => {
    const { twin, call } = await stripeSet()
    twin.faults.rateLimit(1, 7)
    expect(await call('customers.create', ada)).toMatchObject({
      as: 'failed',
      retryable: true,
      newKey: false,
      retryAt: BEGUN + 7000,
    })
  })

  it('a missing field quarantines, and so does a page in place of JSON', async () => {
    const { twin, call } = await stripeSet()
    twin.faults.dropField('id', 1)
    expect(await call('customers.create', ada)).toMatchObject({ as: 'quarantined', path: '/id' })
    twin.faults.garbage(1)
    expect((await call('customers.create', ada, { idempotencyKey: 'other' })).as).toBe('quarantined')
  })

  it('a refused key parks, and the check of a connection tells both', async () => {
    expect((await (await stripeSet()).check()).as).toBe('succeeded')
    expect(await (await stripeSet('sk_test_wrong')).check()).toMatchObject({
      as: 'parked',
      code: 'credential_refused',
    })
  })
})

describe('HubSpot: a look-up, whose index lags', () => {
  async function hubspotSet() {
    const clock = createFakeClock(BEGUN)
    const twin = createHubspotTwin({ clock })
    const { call, check } = await set({ connector: hubspot, twin, token: () => 'pat-twin', clock })
    const contact = await call('contacts.upsert', { email: ada.email, properties: { firstname: 'Ada' } })
    const { id } = (contact as { output: { id: string } }).output
    const effects = () => twin.effects().filter(({ request }) => request > 1)
    return { twin, clock, call, check, effects, note: { contact: id, text: 'Paid $19.99' } }
  }

  it('finds what was done before the answer was lost, once the index has settled', async () => {
    const { twin, clock, call, note, effects } = await hubspotSet()
    twin.faults.resetAfterActing(1)
    expect((await call('notes.create', note)).as).toBe('in_doubt')
    await clock.advance(10 * MINUTE)
    expect(await call('notes.create', note, { kind: 'lookup' })).toMatchObject({
      as: 'succeeded',
      output: { id: expect.any(String) },
    })
    expect(effects()).toHaveLength(1)
  })

  it('tells that it was not done where the request never reached it', async () => {
    const { twin, clock, call, note, effects } = await hubspotSet()
    twin.faults.resetBeforeActing(1)
    expect((await call('notes.create', note)).as).toBe('in_doubt')
    await clock.advance(10 * MINUTE)
    expect((await call('notes.create', note, { kind: 'lookup' })).as).toBe('not_found')
    expect(effects()).toHaveLength(0)
  })

  it('a 503 after acting is in doubt, and an upsert is simply repeated', async () => {
    const { twin, call, note } = await hubspotSet()
    twin.faults.failNext(1, 503, { acted: true })
    expect((await call('notes.create', note)).as).toBe('in_doubt')
    twin.faults.failNext(1, 503, { acted: true })
    expect(await call('contacts.upsert', { email: ada.email, properties: {} })).toMatchObject({
      as: 'failed',
      retryable: true,
    })
  })
})

describe('QuickBooks: a key in the query', () => {
  it('does a payment once, however often its answer is lost', async () => {
    const clock = createFakeClock(BEGUN)
    const twin = createQuickbooksTwin({ clock })
    const grant = twin.connectApp()
    const token = () => grant.accessToken
    const { call } = await set({
      connector: quickbooks,
      twin,
      token,
      settings: { realmId: twin.realmId },
      clock,
    })
    const customer = await call(
      'customers.create',
      { displayName: 'Ada', email: ada.email },
      { idempotencyKey: 'c'.repeat(43) },
    )
    const { Id } = (customer as { output: { Id: string } }).output
    const payment = { customer: Id, amount: '19.99' }
    twin.faults.resetAfterActing(3)
    for (let attempt = 1; attempt <= 3; attempt++)
      expect(await call('payments.create', payment, { attempt })).toMatchObject({ as: 'in_doubt' })
    expect(await call('payments.create', payment, { attempt: 4 })).toMatchObject({ as: 'succeeded' })
    expect(repeatedEffects(twin.effects())).toEqual([])
    expect(twin.state.entities.Payment.size).toBe(1)
    await clock.advance(2 * HOUR)
    expect(await call('payments.create', payment, { attempt: 5 })).toMatchObject({ as: 'parked' })
  })
})
