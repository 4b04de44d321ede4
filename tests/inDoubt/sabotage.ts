import type { AnyConnector, AnyOperation, OperationTree } from 'trestle'
import { PROVIDERS, type Providers } from './flow.ts'

/** The same connector with one operation changed: a protection is put out of order. */
function withOperation<Connector extends AnyConnector>(
  connector: Connector,
  name: string,
  change: (operation: AnyOperation) => Partial<AnyOperation>,
): Connector {
  const known = connector.operationsByName.get(name)
  if (!known) throw new Error(`There is no operation ${name}.`)
  const changed: AnyOperation = { ...known, ...change(known) }
  const [group = '', ...rest] = name.split('.')
  const operations = {
    ...connector.operations,
    [group]: { ...(connector.operations as OperationTree)[group], [rest.join('.')]: changed },
  }
  return {
    ...connector,
    operations,
    operationsByName: new Map([...connector.operationsByName, [name, changed]]),
  }
}

let keys = 0

/** A text is sent again without asking, an invoice has another key each time, and a letter is taken to be repeatable. */
export const SABOTAGED: Providers = {
  twilio: withOperation(PROVIDERS.twilio, 'messages.create', () => ({ idempotency: { kind: 'natural' } })),
  quickbooks: withOperation(PROVIDERS.quickbooks, 'invoices.create', ({ request }) => ({
    request: (input, context) => request(input, { ...context, idempotencyKey: `k${++keys}` }),
  })),
  letters: withOperation(PROVIDERS.letters, 'letters.post', () => ({ idempotency: { kind: 'natural' } })),
}

/** A text is asked for at once, though the list lags. */
export const HASTY: Partial<Providers> = {
  twilio: withOperation(PROVIDERS.twilio, 'messages.create', ({ idempotency }) => ({
    idempotency: { ...idempotency, settleAfterMs: 0 },
  })),
}
