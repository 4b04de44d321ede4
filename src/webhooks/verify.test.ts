import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { hmac, schemeMistake, signatureSchemes, type SignatureScheme } from '../define/index.ts'
import { signPayload } from './sign.ts'
import { verifySignature, type SignedRequest } from './verify.ts'

const NOW = 1_700_000_000_000
const SECRETS = ['bmV3IHNlY3JldA==', 'b2xkIHNlY3JldA==']
const FORM = 'application/x-www-form-urlencoded'
const SCHEMES: readonly SignatureScheme[] = [
  ...Object.values(signatureSchemes),
  hmac({ name: 'sha512', header: 'x-signature', algorithm: 'sha512', encoding: 'base64', source: 'a test' }),
  hmac({
    name: 'dated',
    header: 'x-signature',
    prefix: 'v9=',
    signed: ['timestamp', { text: ':' }, 'body'],
    timestamp: { header: 'x-timestamp', unit: 'ms' },
    toleranceSeconds: 60,
    secret: 'base64',
    source: 'a test',
  }),
]
const named = SCHEMES.map((scheme) => [scheme.name, scheme] as const)
const dated = named.filter(([, scheme]) => scheme.timestamp !== undefined)

/** A request that the provider signed. */
function signed(scheme: SignatureScheme, change: Partial<SignedRequest> = {}, at = NOW): SignedRequest {
  const url = 'https://hooks.example.com/webhooks/x?tenant=1'
  const body = '{"id":"evt_1","amount":1999}'
  const payload = signPayload(scheme, { url, body, at, id: 'msg_1' }, [SECRETS[0]!])
  return {
    method: 'POST',
    url: payload.url,
    headers: Object.entries(payload.headers),
    body: Buffer.from(body),
    ...change,
  }
}

const codeOf = (
  scheme: SignatureScheme,
  request: SignedRequest,
  nowMs = NOW,
  secrets: readonly string[] = [...SECRETS].reverse(),
): string => {
  const verdict = verifySignature(scheme, request, secrets, nowMs)
  return verdict.ok ? 'ok' : verdict.code
}

describe('every scheme', () => {
  it.each(named)('%s is sound', (_name, scheme) => {
    expect(schemeMistake(scheme)).toBeUndefined()
  })

  it.each(Object.entries(signatureSchemes))('%s names its source with a date', (_name, scheme) => {
    expect(scheme.source).toMatch(/https:\/\/.*, 20\d\d-\d\d-\d\d$/)
  })

  it.each(named)(
    '%s accepts what the provider signed, with any of the secrets that are valid',
    (_, scheme) => {
      expect(codeOf(scheme, signed(scheme))).toBe('ok')
      expect(codeOf(scheme, signed(scheme), NOW, [SECRETS[0]!])).toBe('ok')
      expect(codeOf(scheme, signed(scheme), NOW, [SECRETS[1]!])).toBe('signature_invalid')
    },
  )

  it.each(named)('%s refuses every change of one byte of the body', (_, scheme) => {
    const request = signed(scheme)
    fc.assert(
      fc.property(
        fc.nat(request.body.length - 1),
        fc.integer({ min: 1, max: 255 }),
        (position, difference) => {
          const body = Buffer.from(request.body)
          body[position] = body[position]! ^ difference
          expect(codeOf(scheme, { ...request, body })).toBe('signature_invalid')
        },
      ),
    )
    expect(codeOf(scheme, { ...request, body: Buffer.alloc(0) })).not.toBe('ok')
  })

  it.each(named)('%s refuses every change of one character of a header that it reads', (_, scheme) => {
    const request = signed(scheme)
    const read = new Set([scheme.header, scheme.timestamp?.header, scheme.idHeader])
    const positions = request.headers.flatMap(([name, value], index) =>
      read.has(name) ? Array.from({ length: value.length }, (_unused, at) => ({ index, at })) : [],
    )
    for (const { index, at } of positions) {
      for (const character of ['0', 'A', '=', ' ', '.', '\u00ff']) {
        const headers = request.headers.map(([name, value], i): [string, string] => [
          name,
          i === index ? value.slice(0, at) + character + value.slice(at + 1) : value,
        ])
        const same = headers[index]![1].toLowerCase() === request.headers[index]![1].toLowerCase()
        expect(same || codeOf(scheme, { ...request, headers }) !== 'ok').toBe(true)
      }
    }
  })

  it.each(named)(
    '%s refuses a header that is missing or there twice, whatever the case of its name',
    (_, scheme) => {
      const request = signed(scheme)
      for (const name of [scheme.header, scheme.timestamp?.header, scheme.idHeader]) {
        if (name === undefined) continue
        const without = request.headers.filter(([other]) => other !== name)
        const [, value] = request.headers.find(([other]) => other === name)!
        const shout = name.toUpperCase()
        expect(codeOf(scheme, { ...request, headers: without })).toBe('signature_missing')
        expect(codeOf(scheme, { ...request, headers: [...without, [shout, value]] })).toBe('ok')
        expect(codeOf(scheme, { ...request, headers: [...request.headers, [shout, value]] })).toBe(
          'signature_malformed',
        )
        const list = [...without, [name, [value, value]]] as unknown as SignedRequest['headers']
        expect(codeOf(scheme, { ...request, headers: list })).toBe('signature_malformed')
      }
    },
  )

  it.each(dated)(
    '%s refuses what was signed outside the tolerance, on both sides, ten years included',
    (_, scheme) => {
      const toleranceMs = (scheme.toleranceSeconds ?? 300) * 1000
      const tenYearsMs = 10 * 365 * 86_400_000
      for (const [offset, expected] of [
        [-toleranceMs, 'ok'],
        [toleranceMs, 'ok'],
        [-toleranceMs - 1000, 'timestamp_outside_tolerance'],
        [toleranceMs + 1000, 'timestamp_outside_tolerance'],
        [-tenYearsMs, 'timestamp_outside_tolerance'],
        [tenYearsMs, 'timestamp_outside_tolerance'],
      ] as const)
        expect({ offset, code: codeOf(scheme, signed(scheme, {}, NOW + offset)) }).toEqual({
          offset,
          code: expected,
        })
    },
  )

  it.each(dated)('%s would accept a replay if its timestamp were not judged', (_, scheme) => {
    const old = signed(scheme, {}, NOW - 86_400_000)
    const blind = { ...scheme, toleranceSeconds: Number.POSITIVE_INFINITY }
    expect(codeOf(blind, old)).toBe('ok')
    expect(codeOf(scheme, old)).toBe('timestamp_outside_tolerance')
  })

  it.each(named)('%s takes a missing or unusable secret for our fault, not for a forgery', (_, scheme) => {
    const request = signed(scheme)
    expect(codeOf(scheme, request, NOW, [])).toBe('secret_missing')
    expect(codeOf(scheme, request, NOW, [''])).toBe('secret_malformed')
    expect(codeOf(scheme, request, NOW, ['', SECRETS[1]!])).toBe('secret_malformed')
    expect(codeOf(scheme, request, NOW, ['', SECRETS[0]!])).toBe('ok')
  })
})

describe('requests made to break the check', () => {
  const header = fc.oneof(
    fc.string({ unit: 'binary' }),
    fc.constantFrom('', ' ', ',', '=', 't=', 'v1=', 't=1,v1=', 't=1,t=2,v1=00', 'v1,', 'sha256=', 'v0='),
    fc.stringMatching(/^t=\d{1,20}(,v1=[0-9a-f]{0,70}){0,3}$/),
    fc.stringMatching(/^(v1a?,[A-Za-z0-9+/]{0,50}={0,3} ?){0,3}$/),
    fc.stringMatching(/^[A-Za-z0-9+/=]{20,90}$/),
    fc.stringMatching(/^[0-9]{0,400}$/),
    fc.anything() as fc.Arbitrary<string>,
  )
  const headerNames = [
    ...new Set(SCHEMES.flatMap(({ header, timestamp, idHeader }) => [header, timestamp?.header, idHeader])),
    'content-type',
  ].filter((name) => name !== undefined)
  const request: fc.Arbitrary<SignedRequest> = fc.record({
    method: fc.string(),
    url: fc.oneof(
      fc.webUrl({ withQueryParameters: true }),
      fc.string({ unit: 'binary' }),
      fc.constantFrom('', '//', '?bodySHA256=', 'https://[/?bodySHA256=%ff&bodySHA256'),
    ),
    headers: fc.array(fc.tuple(fc.constantFrom(...headerNames), fc.oneof(header, fc.constant(FORM)))),
    body: fc.uint8Array({ maxLength: 60 }).map((bytes) => Buffer.from(bytes)),
  })

  it('are all refused, and none of 100,000 makes it throw', () => {
    fc.assert(
      fc.property(
        fc.constantFrom(...SCHEMES),
        request,
        fc.array(fc.oneof(fc.string(), fc.constantFrom(...SECRETS)), { maxLength: 3 }),
        (scheme, request, secrets) => !verifySignature(scheme, request, secrets, NOW).ok,
      ),
      { numRuns: 100_000 },
    )
  })

  it.each([
    ['a hundred thousand signatures', `t=1700000000${`,v1=${'0'.repeat(64)}`.repeat(100_000)}`],
    ['a hundred thousand commas', `t=1700000000${','.repeat(100_000)}`],
    ['no signature', 't=1700000000'],
    ['a timestamp that is no number', `t=17e8,v1=${'0'.repeat(64)}`],
    ['a timestamp below zero', `t=-1,v1=${'0'.repeat(64)}`],
    ['a signature that is too short', 't=1700000000,v1=00'],
    ['a signature that is no hex', `t=1700000000,v1=${'z'.repeat(64)}`],
  ])('refuses %s', (_, value) => {
    const headers = [['stripe-signature', value] as const]
    expect(codeOf(signatureSchemes.stripe, signed(signatureSchemes.stripe, { headers }))).toMatch(
      /^signature_(malformed|invalid)$/,
    )
  })

  it('refuses a second timestamp in the header, even behind the one that was signed', () => {
    const request = signed(signatureSchemes.stripe)
    const headers = request.headers.map(([name, value]): [string, string] => [
      name,
      name === 'stripe-signature' ? `${value},t=1` : value,
    ])
    expect(codeOf(signatureSchemes.stripe, { ...request, headers })).toBe('signature_malformed')
  })

  it('refuses the one base64 text beside the canonical one that decodes to the same bytes', () => {
    const request = signed(signatureSchemes.shopify)
    const [, value] = request.headers.find(([name]) => name === 'x-shopify-hmac-sha256')!
    const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/'
    const other = `${value.slice(0, 42)}${alphabet[alphabet.indexOf(value[42]!) ^ 1]!}=`
    expect(Buffer.from(other, 'base64')).toEqual(Buffer.from(value, 'base64'))
    const headers = [['x-shopify-hmac-sha256', other] as const]
    expect(codeOf(signatureSchemes.shopify, { ...request, headers })).toBe('signature_malformed')
  })

  it('refuses a form of more fields than can be sorted cheaply', () => {
    const body = Buffer.from('a=1&'.repeat(1001))
    const headers = [
      ['x-twilio-signature', `${'A'.repeat(27)}=`],
      ['content-type', FORM],
    ] as const
    expect(
      codeOf(signatureSchemes.twilio, signed(signatureSchemes.twilio, { body, headers, url: 'https://a/' })),
    ).toBe('signature_malformed')
  })
})

describe('hmac', () => {
  it.each([
    [{ header: 'X-Signature' }, /lower case/],
    [{ signed: ['url'] as const }, /body is not signed/],
    [{ timestamp: { header: 'x-timestamp', unit: 's' } as const }, /protects from nothing/],
    [{ signed: ['timestamp', 'body'] as const }, /where it is/],
    [{ idHeader: 'x-id' }, /idHeader/],
  ])('refuses %j and says what to write', (options, message) => {
    expect(() => hmac({ name: 'acme', header: 'x-signature', source: 'a test', ...options })).toThrow(message)
  })
})

describe('signPayload', () => {
  it('says what it needs', () => {
    const payload = { url: 'https://a/', body: '', at: NOW }
    expect(() => signPayload(signatureSchemes.stripe, payload, [])).toThrow(/secrets/)
    expect(() => signPayload(signatureSchemes.standardWebhooks, payload, ['!'])).toThrow(/secrets/)
    expect(() => signPayload(signatureSchemes.standardWebhooks, payload, SECRETS)).toThrow(/id/)
  })
})
