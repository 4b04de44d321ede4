import { expect, it } from 'vitest'
import { checkResultOf } from './connectionChecks.ts'

const exchange = { request: { method: 'GET', url: 'https://api.example/', headers: {} }, ms: 1 } as const
const credential = { connectionId: 'con_1', as: 'refused' } as const
const said = { code: 'credential_refused', reason: 'No.' } as const

it.each([
  ['a 401', { ...said, as: 'parked', exchange: { ...exchange, status: 401 }, credential }, 'refused'],
  [
    "a mail server's 535",
    { ...said, as: 'parked', exchange: { ...exchange, status: 535 }, credential },
    'refused',
  ],
  ['nothing, as there is no credential', { ...said, as: 'parked', credential }, 'unknown'],
  ['nothing, as the provider is away', { ...said, as: 'parked' }, 'unknown'],
  [
    'a 403',
    { ...said, as: 'failed', retryable: false, newKey: false, exchange: { ...exchange, status: 403 } },
    'unknown',
  ],
  [
    'a 404',
    { ...said, as: 'failed', retryable: false, newKey: false, exchange: { ...exchange, status: 404 } },
    'accepted',
  ],
  [
    'a 429',
    { ...said, as: 'failed', retryable: true, newKey: false, exchange: { ...exchange, status: 429 } },
    'unknown',
  ],
] as const)('a check that is answered with %s says of the credential what it may', (_, outcome, word) => {
  expect(checkResultOf(outcome as never).credential).toBe(word)
})
