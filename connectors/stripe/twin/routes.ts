import { route, type KeyStore, type TwinAnswer, type TwinRequest, type TwinRoute } from 'trestle/testing'
import { newCustomer, newRefund, type TwinCharge, type TwinCustomer } from './objects.ts'
import { EVIDENCE_FIELDS } from './objects.ts'
import {
  changedMetadata,
  decodeForm,
  listPage,
  refuse,
  searchMatcher,
  textOf,
  type FormValue,
} from './requests.ts'
import type { Account, StripeState } from './state.ts'

type Asked = TwinRequest<StripeState>
type Fields = { [name: string]: FormValue }

/** The part of Stripe's API v1 that the twin speaks. */
export function stripeRoutes(account: () => Account, keys: KeyStore): readonly TwinRoute<StripeState>[] {
  /** A write: done once for each `Idempotency-Key`. */
  const write = (path: string, act: (asked: Asked, fields: Fields) => TwinAnswer): TwinRoute<StripeState> =>
    route(
      'POST',
      path,
      (asked) => keys.once(asked, asked.headers['idempotency-key'], () => act(asked, decodeForm(asked.form))),
      { storesAnswers: true },
    )
  const read = (path: string, kind: string, map: (state: StripeState) => ReadonlyMap<string, object>) =>
    route<StripeState>('GET', path, ({ params, state }) => ok(existing(map(state), params['id']!, kind)))

  return [
    route('GET', '/v1/customers/search', ({ query }) => {
      const wanted = query.get('query') ?? refuse(400, 'Missing required param: query.', { param: 'query' })
      const found = account().customerIndex.search(searchMatcher(wanted))
      const limit = Number(query.get('limit') ?? 10)
      const page = Number(query.get('page') ?? 0)
      const more = found.length > (page + 1) * limit
      return ok({
        object: 'search_result',
        data: found.slice(page * limit, (page + 1) * limit),
        has_more: more,
        next_page: more ? String(page + 1) : null,
        url: '/v1/customers/search',
      })
    }),
    read('/v1/customers/:id', 'customer', ({ customers }) => customers),
    route('GET', '/v1/customers', ({ query, state }) =>
      listPage(
        state.customers.values(),
        query,
        '/v1/customers',
        (one) => !('deleted' in one) && matches(one.email, query.get('email')),
      ),
    ),
    write('/v1/customers', (asked, fields) => createCustomer(account(), asked, fields)),
    write('/v1/customers/:id', (asked, fields) => changeCustomer(account(), asked, fields)),

    read('/v1/payment_intents/:id', 'payment_intent', ({ paymentIntents }) => paymentIntents),
    route('GET', '/v1/payment_intents', ({ query, state }) =>
      listPage(state.paymentIntents.values(), query, '/v1/payment_intents', (one) =>
        matches(one.customer, query.get('customer')),
      ),
    ),
    read('/v1/charges/:id', 'charge', ({ charges }) => charges),
    read('/v1/refunds/:id', 'refund', ({ refunds }) => refunds),
    route('GET', '/v1/refunds', ({ query, state }) =>
      listPage(
        state.refunds.values(),
        query,
        '/v1/refunds',
        (one) =>
          matches(one.payment_intent, query.get('payment_intent')) &&
          matches(one.charge, query.get('charge')),
      ),
    ),
    write('/v1/refunds', (asked, fields) => createRefund(account(), asked, fields)),

    read('/v1/subscriptions/:id', 'subscription', ({ subscriptions }) => subscriptions),
    read('/v1/invoices/:id', 'invoice', ({ invoices }) => invoices),
    read('/v1/disputes/:id', 'dispute', ({ disputes }) => disputes),
    write('/v1/disputes/:id', (asked, fields) => changeDispute(account(), asked, fields)),
  ]
}

function createCustomer(account: Account, asked: Asked, fields: Fields): TwinAnswer {
  const customer = newCustomer(account.make(), {
    email: emailOf(fields),
    name: textOf(fields, 'name'),
    phone: textOf(fields, 'phone'),
    description: textOf(fields, 'description'),
    metadata: changedMetadata({}, fields['metadata']),
  })
  account.state.customers.set(customer.id, customer)
  account.customerIndex.put(customer.id, customer)
  const who = customer.name ?? customer.email ?? customer.id
  asked.effect({
    kind: 'customer.created',
    key: customer.email ?? customer.metadata['trestle_key'] ?? customer.id,
    ref: customer.id,
    summary: `customer ${who}`,
  })
  account.emit('customer.created', customer, { request: causeOf(asked) })
  return ok(customer)
}

function changeCustomer(account: Account, asked: Asked, fields: Fields): TwinAnswer {
  const found = existing(account.state.customers, asked.params['id']!, 'customer')
  if ('deleted' in found) return refuse(404, `No such customer: '${found.id}'`, { code: 'resource_missing' })
  const before: Record<string, unknown> = {}
  const after: TwinCustomer = { ...found, metadata: changedMetadata(found.metadata, fields['metadata']) }
  emailOf(fields)
  for (const name of ['email', 'name', 'phone', 'description'] as const) {
    if (!(name in fields)) continue
    before[name] = found[name]
    after[name] = textOf(fields, name) ?? null
  }
  account.state.customers.set(after.id, after)
  account.customerIndex.put(after.id, after)
  asked.effect({
    kind: 'customer.updated',
    key: `${after.id} ${asked.headers['idempotency-key'] ?? asked.number}`,
    ref: after.id,
    summary: `customer ${after.name ?? after.email ?? after.id} changed`,
  })
  account.emit('customer.updated', after, { previous: before, request: causeOf(asked) })
  return ok(after)
}

function createRefund(account: Account, asked: Asked, fields: Fields): TwinAnswer {
  const charge = chargeOf(account.state, fields)
  const left = charge.amount_captured - charge.amount_refunded
  const amount = Number(textOf(fields, 'amount') ?? left)
  if (left === 0)
    refuse(400, `Charge ${charge.id} has already been refunded.`, { code: 'charge_already_refunded' })
  if (!Number.isInteger(amount) || amount < 1)
    refuse(400, `Invalid integer: ${textOf(fields, 'amount')}`, {
      param: 'amount',
      code: 'parameter_invalid_integer',
    })
  if (amount > left)
    refuse(400, `Refund amount (${amount}) is greater than unrefunded amount on charge (${left})`, {
      param: 'amount',
    })
  const refund = newRefund(account.make(), charge, {
    amount,
    reason: textOf(fields, 'reason') ?? null,
    metadata: changedMetadata({}, fields['metadata']),
  })
  charge.amount_refunded += amount
  charge.refunded = charge.amount_refunded === charge.amount_captured
  account.state.refunds.set(refund.id, refund)
  asked.effect({
    kind: 'refund.created',
    key: `${charge.id} ${amount}`,
    ref: refund.id,
    summary: `refund of ${amount} ${refund.currency}`,
  })
  account.emit('refund.created', refund, { request: causeOf(asked) })
  account.emit('charge.refunded', charge, { request: causeOf(asked) })
  return ok(refund)
}

function changeDispute(account: Account, asked: Asked, fields: Fields): TwinAnswer {
  const dispute = existing(account.state.disputes, asked.params['id']!, 'dispute')
  if (dispute.status !== 'needs_response')
    refuse(400, 'This dispute is already closed or under review.', { param: 'id' })
  const evidence = fields['evidence']
  for (const [name, value] of Object.entries(typeof evidence === 'object' ? evidence : {})) {
    if (!EVIDENCE_FIELDS.includes(name) || typeof value !== 'string')
      refuse(400, `Received unknown parameter: evidence[${name}]`, { code: 'parameter_unknown' })
    Object.assign(dispute.evidence, { [name]: value })
    dispute.evidence_details.has_evidence = true
  }
  dispute.metadata = changedMetadata(dispute.metadata, fields['metadata'])
  const submitted = fields['submit'] !== 'false'
  if (submitted) {
    dispute.evidence_details.submission_count++
    dispute.status = 'under_review'
  }
  asked.effect({
    kind: submitted ? 'dispute.evidence_submitted' : 'dispute.evidence_drafted',
    key: `${dispute.id} ${asked.headers['idempotency-key'] ?? asked.number}`,
    ref: dispute.id,
    summary: `evidence for the dispute over ${dispute.amount} ${dispute.currency}`,
  })
  account.emit('charge.dispute.updated', dispute, { request: causeOf(asked) })
  return ok(dispute)
}

function chargeOf(state: StripeState, fields: Fields): TwinCharge {
  const chargeId = textOf(fields, 'charge')
  if (chargeId !== undefined) return existing(state.charges, chargeId, 'charge')
  const intentId = textOf(fields, 'payment_intent')
  if (intentId === undefined)
    return refuse(
      400,
      'One of the following params should be provided for this request: payment_intent or charge.',
    )
  const intent = existing(state.paymentIntents, intentId, 'payment_intent')
  return intent.latest_charge === null
    ? refuse(400, `The PaymentIntent (${intentId}) has no successful charge.`, { param: 'payment_intent' })
    : existing(state.charges, intent.latest_charge, 'charge')
}

function emailOf(fields: Fields): string | undefined {
  const email = textOf(fields, 'email')
  if (email !== undefined && !/^[^@\s]+@[^@\s]+$/.test(email))
    refuse(400, `Invalid email address: ${email}`, { param: 'email', code: 'email_invalid' })
  return email
}

function existing<T>(map: ReadonlyMap<string, T>, id: string, kind: string): T {
  return map.get(id) ?? refuse(404, `No such ${kind}: '${id}'`, { code: 'resource_missing', param: 'id' })
}

function matches(value: string | null, wanted: string | null): boolean {
  return wanted === null || value === wanted
}

function causeOf(asked: Asked): { id: string; key: string | null } {
  return { id: `req_${asked.number}`, key: asked.headers['idempotency-key'] ?? null }
}

function ok(json: object): TwinAnswer {
  return { status: 200, json }
}
