import { defineOperation, type ProviderAnswer } from 'trestle'
import { z } from 'zod'
import { address, addressPage, newAddress, page, pageQuery } from './contracts.ts'
import { LISTS, ORDINARY } from './limits.ts'

const PATH = '/v2/addresses'
const id = z.string().regex(/^adr_/, 'an id of an address begins with adr_')

/**
 * Writes an address down. It is a value: nothing happens to it and it cannot be changed, so that a second one after a
 * lost answer harms nobody.
 * Source: https://docs.easypost.com/docs/addresses, read 2026-11-22.
 */
export const createAddress = defineOperation({
  summary: 'write down an address',
  input: newAddress.extend({
    /**
     * `report` tells in `verifications` what is wrong; `strict` refuses the address instead
     * (`address_verify_failure`). Default: it is not verified.
     */
    verify: z.enum(['report', 'strict']).optional(),
  }),
  output: address,
  idempotency: { kind: 'natural' },
  limits: ORDINARY,
  request: ({ verify, ...written }) => ({
    method: 'POST',
    path: PATH,
    body: {
      json: {
        address: written,
        ...(verify === 'report' ? { verify: true } : {}),
        ...(verify === 'strict' ? { verify_strict: true } : {}),
      },
    },
  }),
  describe: (_input, { street1, city }) => `address ${[street1, city].filter(Boolean).join(', ')}`,
})

/** Verifies an address that was written down. One that cannot be found is refused: `address_verify_failure`. */
export const verifyAddress = defineOperation({
  summary: 'verify an address',
  input: z.object({ id }),
  output: address,
  idempotency: { kind: 'natural' },
  limits: ORDINARY,
  request: (input) => ({ method: 'GET', path: `${PATH}/${encodeURIComponent(input.id)}/verify` }),
  answer: addressWithin,
  describe: (_input, { street1, city }) => `address ${[street1, city].filter(Boolean).join(', ')} verified`,
})

/** A verified address stands in an envelope, `{ address }`; all others stand alone. */
function addressWithin({ json }: ProviderAnswer): unknown {
  return json !== null && typeof json === 'object' && 'address' in json ? json.address : undefined
}

export const retrieveAddress = defineOperation({
  summary: 'read an address',
  input: z.object({ id }),
  output: address,
  idempotency: { kind: 'natural' },
  limits: ORDINARY,
  request: (input) => ({ method: 'GET', path: `${PATH}/${encodeURIComponent(input.id)}` }),
})

export const listAddresses = defineOperation({
  summary: 'list addresses',
  input: z.object(page),
  output: addressPage,
  idempotency: { kind: 'natural' },
  limits: LISTS,
  request: (input) => ({ method: 'GET', path: PATH, query: pageQuery(input) }),
  describe: (_input, { addresses }) => `${addresses.length} address(es)`,
})
