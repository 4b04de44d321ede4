import { createHmac } from 'node:crypto'
import { Signature as HubspotSignature } from '@hubspot/api-client'
import { sign as signAsGithub, verify as verifyAsGithub } from '@octokit/webhooks-methods'
import * as fc from 'fast-check'
import { Webhook as StandardWebhook } from 'standardwebhooks'
import { Stripe } from 'stripe'
import { Webhook as SvixWebhook } from 'svix'
import twilio from 'twilio'
import { describe, expect, it } from 'vitest'
import { systemClock } from '../base/index.ts'
import { signatureSchemes, type SignatureScheme } from '../define/index.ts'
import { signPayload, type PayloadToSign } from './sign.ts'
import { verifySignature, type SignedRequest } from './verify.ts'

const stripe = new Stripe('sk_test_x')
const URL = 'https://hooks.example.com/webhooks/x'
const SECRET = 'a secret of some length'
const WHSEC = 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw'
const TEN_YEARS_S = 10 * 365 * 86_400

const seconds = fc.integer({ min: 1_000_000_000, max: 4_000_000_000 })
const text = fc.oneof(fc.json(), fc.string({ unit: 'binary', minLength: 1 }).filter(isWellFormed))
const secret = fc.string({ unit: 'grapheme', minLength: 1 }).filter((one) => one.trim() !== '')
const id = fc.stringMatching(/^[A-Za-z0-9_-]{1,40}$/)

/** What an official package signs is text: lone surrogates cannot be sent. */
function isWellFormed(value: string): boolean {
  return Buffer.from(value).toString() === value
}

const requestOf = (
  body: string,
  headers: Readonly<Record<string, string>>,
  rest: Partial<SignedRequest> = {},
): SignedRequest => ({
  method: 'POST',
  url: URL,
  headers: Object.entries(headers),
  body: Buffer.from(body),
  ...rest,
})

const verdict = (scheme: SignatureScheme, request: SignedRequest, secret: string, nowMs: number): string => {
  const result = verifySignature(scheme, request, [secret], nowMs)
  return result.ok ? 'ok' : result.code
}

/** Now in whole seconds, for verifiers that read the clock themselves. */
const nowS = (): number => Math.floor(systemClock.now() / 1000)

describe('stripe', () => {
  it('accepts what the official package signs, and is accepted by it', () => {
    fc.assert(
      fc.property(text, secret, seconds, fc.integer({ min: -300, max: 300 }), (body, secret, t, late) => {
        const header = stripe.webhooks.generateTestHeaderString({ payload: body, secret, timestamp: t })
        const request = requestOf(body, { 'Stripe-Signature': header })
        expect(verdict(signatureSchemes.stripe, request, secret, (t + late) * 1000)).toBe('ok')
        const ours = signPayload(signatureSchemes.stripe, { url: URL, body, at: t * 1000 }, [secret])
        expect(ours.headers['stripe-signature']).toBe(header)
      }),
    )
  })

  it.each([
    [-301, 'timestamp_outside_tolerance', 'refused'],
    [-300, 'ok', 'accepted'],
    [300, 'ok', 'accepted'],
    [301, 'timestamp_outside_tolerance', 'accepted'],
    [TEN_YEARS_S, 'timestamp_outside_tolerance', 'accepted'],
  ])('judges a timestamp %d s from now as %s, where the official package says %s', (offset, ours, theirs) => {
    const t = 1_700_000_000
    const body = '{"id":"evt_1"}'
    const header = stripe.webhooks.generateTestHeaderString({
      payload: body,
      secret: SECRET,
      timestamp: t + offset,
    })
    const request = requestOf(body, { 'stripe-signature': header })
    expect(verdict(signatureSchemes.stripe, request, SECRET, t * 1000 + 999)).toBe(ours)
    const official = (): string => {
      try {
        stripe.webhooks.constructEvent(body, header, SECRET, 300, undefined, t * 1000 + 999)
        return 'accepted'
      } catch {
        return 'refused'
      }
    }
    expect(official()).toBe(theirs)
  })

  it('accepts one good signature among several while a secret is rolled, and secrets in any order', () => {
    const signed = signPayload(signatureSchemes.stripe, { url: URL, body: '{}', at: 1000 }, ['new', 'old'])
    for (const secrets of [['old'], ['new'], ['other', 'old'], ['new', 'other']]) {
      const request = requestOf('{}', signed.headers)
      expect(verifySignature(signatureSchemes.stripe, request, secrets, 1000).ok).toBe(true)
    }
    expect(verdict(signatureSchemes.stripe, requestOf('{}', signed.headers), 'other', 1000)).toBe(
      'signature_invalid',
    )
  })
})

describe('standard webhooks', () => {
  it('accepts what standardwebhooks and svix sign, and signs the same', () => {
    const standard = new StandardWebhook(WHSEC)
    const svix = new SvixWebhook(WHSEC)
    fc.assert(
      fc.property(text, id, seconds, (body, id, t) => {
        const signature = standard.sign(id, new Date(t * 1000), body)
        expect(svix.sign(id, new Date(t * 1000), body)).toBe(signature)
        const headers = {
          'webhook-id': id,
          'webhook-timestamp': String(t),
          'webhook-signature': `v1a,bm90IG91cnM= ${signature}`,
        }
        const result = verifySignature(
          signatureSchemes.standardWebhooks,
          requestOf(body, headers),
          [WHSEC],
          t * 1000,
        )
        expect(result).toEqual({ ok: true, signedAt: t * 1000, id })
        const ours = signPayload(signatureSchemes.standardWebhooks, { url: URL, body, at: t * 1000, id }, [
          WHSEC,
        ])
        expect(ours.headers['webhook-signature']).toBe(signature)
      }),
    )
  })

  it('what we sign, the official packages accept', () => {
    const body = '{"type":"a"}'
    const { headers } = signPayload(
      signatureSchemes.standardWebhooks,
      { url: URL, body, at: nowS() * 1000, id: 'msg_1' },
      [WHSEC, WHSEC],
    )
    expect(new StandardWebhook(WHSEC).verify(body, headers)).toEqual({ type: 'a' })
    expect(new SvixWebhook(WHSEC).verify(body, headers)).toEqual({ type: 'a' })
  })

  it('refuses an id with a full stop, of which a part could be taken for the timestamp', () => {
    const signature = new StandardWebhook(WHSEC).sign('a.1700000000', new Date(1_700_000_000_000), '{}')
    const headers = {
      'webhook-id': 'a.1700000000',
      'webhook-timestamp': '1700000000',
      'webhook-signature': signature,
    }
    expect(
      verdict(signatureSchemes.standardWebhooks, requestOf('{}', headers), WHSEC, 1_700_000_000_000),
    ).toBe('signature_malformed')
  })
})

describe('github', () => {
  it('accepts what the official package signs, and is accepted by it', async () => {
    await fc.assert(
      fc.asyncProperty(text, secret, async (body, secret) => {
        const signature = await signAsGithub(secret, body)
        const headers = { 'x-hub-signature-256': signature }
        expect(verdict(signatureSchemes.github, requestOf(body, headers), secret, 0)).toBe('ok')
        const ours = signPayload(signatureSchemes.github, { url: URL, body, at: 0 }, [secret])
        expect(await verifyAsGithub(secret, body, ours.headers['x-hub-signature-256']!)).toBe(true)
      }),
    )
  })
})

describe('hubspot v3', () => {
  it('accepts what the official client signs', () => {
    fc.assert(
      fc.property(text, secret, seconds, fc.constantFrom('POST', 'PUT'), (body, secret, t, method) => {
        const timestamp = t * 1000 + 123
        const signature = HubspotSignature.getSignature(method, 'v3', {
          clientSecret: secret,
          requestBody: body,
          url: URL,
          timestamp,
          signature: '',
        })
        const headers = {
          'X-HubSpot-Signature-v3': signature,
          'X-HubSpot-Request-Timestamp': String(timestamp),
        }
        const request = requestOf(body, headers, { method })
        expect(verdict(signatureSchemes.hubspotV3, request, secret, timestamp + 299_999)).toBe('ok')
        expect(verdict(signatureSchemes.hubspotV3, request, secret, timestamp + 300_001)).toBe(
          'timestamp_outside_tolerance',
        )
        expect(verdict(signatureSchemes.hubspotV3, request, secret, timestamp - TEN_YEARS_S * 1000)).toBe(
          'timestamp_outside_tolerance',
        )
        expect(verdict(signatureSchemes.hubspotV3, { ...request, method: 'GET' }, secret, timestamp)).toBe(
          'signature_invalid',
        )
      }),
    )
  })

  it('is accepted by the official client, which also accepts ten years from now', () => {
    for (const at of [systemClock.now(), systemClock.now() + TEN_YEARS_S * 1000]) {
      const { headers } = signPayload(signatureSchemes.hubspotV3, { url: URL, body: '[]', at }, [SECRET])
      const official = HubspotSignature.isValid({
        signature: headers['x-hubspot-signature-v3']!,
        clientSecret: SECRET,
        requestBody: '[]',
        url: URL,
        method: 'POST',
        signatureVersion: 'v3',
        timestamp: Number(headers['x-hubspot-request-timestamp']),
      })
      expect(official).toBe(true)
    }
  })

  it('decodes the escapes in the URL that the documentation lists, and no others', () => {
    const url = `${URL}?a=%3A%2f%3F%40%21%24%27%28%29%2A%2C%3B&b=%20%26`
    const signed = `${URL}?a=:/?@!$'()*,;&b=%20%26`
    const signature = createHmac('sha256', SECRET).update(`POST${signed}[]1700000000000`).digest('base64')
    const headers = { 'x-hubspot-signature-v3': signature, 'x-hubspot-request-timestamp': '1700000000000' }
    expect(
      verdict(signatureSchemes.hubspotV3, requestOf('[]', headers, { url }), SECRET, 1_700_000_000_000),
    ).toBe('ok')
  })
})

describe('twilio', () => {
  const params = fc.dictionary(
    fc
      .string({ unit: 'grapheme', minLength: 1 })
      .filter((name) => isWellFormed(name) && name !== '__proto__'),
    fc.string({ unit: 'grapheme' }).filter(isWellFormed),
  )
  const formRequest = (body: string, signature: string, url = URL): SignedRequest =>
    requestOf(
      body,
      { 'X-Twilio-Signature': signature, 'Content-Type': 'application/x-www-form-urlencoded' },
      { url },
    )

  it('accepts what the official package signs, and is accepted by it', () => {
    fc.assert(
      fc.property(params, secret, (params, secret) => {
        const body = new URLSearchParams(params).toString()
        const signature = twilio.getExpectedTwilioSignature(secret, URL, params)
        expect(verdict(signatureSchemes.twilio, formRequest(body, signature), secret, 0)).toBe('ok')
        const payload: PayloadToSign = {
          url: URL,
          body,
          at: 0,
          contentType: 'application/x-www-form-urlencoded',
        }
        const ours = signPayload(signatureSchemes.twilio, payload, [secret]).headers['x-twilio-signature']!
        expect(twilio.validateRequest(secret, ours, URL, params)).toBe(true)
      }),
    )
  })

  it('accepts repeated fields as the official package signs them', () => {
    const signature = twilio.getExpectedTwilioSignature(SECRET, URL, { b: ['2', '1', '2'], a: 'x' })
    expect(verdict(signatureSchemes.twilio, formRequest('b=2&b=1&a=x&b=2', signature), SECRET, 0)).toBe('ok')
  })

  it.each([
    ['https://hooks.example.com/x?a=1', 'https://hooks.example.com:443/x?a=1'],
    ['https://hooks.example.com:8443/x', 'https://hooks.example.com/x'],
    ['http://user:pass@127.0.0.1:4010/x', 'http://user:pass@127.0.0.1/x'],
    ['http://[::1]/x', 'http://[::1]:80/x'],
    ['HTTPS://hooks.example.com/x', 'HTTPS://hooks.example.com:443/x'],
  ])('accepts for %s a signature over %s, as the official package does', (url, signedUrl) => {
    const signature = twilio.getExpectedTwilioSignature(SECRET, signedUrl, { a: '1' })
    expect(twilio.validateRequest(SECRET, signature, url, { a: '1' })).toBe(true)
    expect(verdict(signatureSchemes.twilio, formRequest('a=1', signature, url), SECRET, 0)).toBe('ok')
  })

  it('covers a JSON body by bodySHA256, as the official package does', () => {
    const body = '{"a":1}'
    const signed = signPayload(signatureSchemes.twilio, { url: `${URL}?x=1`, body, at: 0 }, [SECRET])
    expect(signed.url).toMatch(/\?x=1&bodySHA256=[0-9a-f]{64}$/)
    const signature = signed.headers['x-twilio-signature']!
    expect(twilio.validateRequestWithBody(SECRET, signature, signed.url, body)).toBe(true)
    const request = requestOf(body, signed.headers, { url: signed.url })
    expect(verdict(signatureSchemes.twilio, request, SECRET, 0)).toBe('ok')
    expect(verdict(signatureSchemes.twilio, { ...request, body: Buffer.from('{"a":2}') }, SECRET, 0)).toBe(
      'signature_invalid',
    )
    const twice = { ...request, url: `${signed.url}&bodySHA256=${'0'.repeat(64)}` }
    expect(verdict(signatureSchemes.twilio, twice, SECRET, 0)).toBe('signature_malformed')
  })

  it('refuses a body that nothing covers: a good signature over the URL alone is not enough', () => {
    const signature = twilio.getExpectedTwilioSignature(SECRET, URL, {})
    const empty = requestOf('', { 'x-twilio-signature': signature, 'content-type': 'application/json' })
    expect(verdict(signatureSchemes.twilio, empty, SECRET, 0)).toBe('ok')
    const filled = { ...empty, body: Buffer.from('{"amount":1}') }
    expect(verdict(signatureSchemes.twilio, filled, SECRET, 0)).toBe('signature_missing')
  })
})
