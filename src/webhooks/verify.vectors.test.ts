import { describe, expect, it } from 'vitest'
import { signatureSchemes, type SignatureScheme } from '../define/index.ts'
import { verifySignature, type SignedRequest } from './verify.ts'

interface Vector {
  readonly from: string
  readonly scheme: SignatureScheme
  readonly secret: string
  readonly nowMs: number
  readonly request: SignedRequest
}

const request = (
  url: string,
  headers: Readonly<Record<string, string>>,
  body: string,
  method = 'POST',
): SignedRequest => ({ method, url, headers: Object.entries(headers), body: Buffer.from(body) })

const TWILIO_FORM =
  'To=%2B18005551212&CallSid=CA1234567890ABCDE&Digits=1234&From=%2B12349013030&Caller=%2B12349013030'

const VECTORS: readonly Vector[] = [
  {
    from: 'standardwebhooks 1.1.1 and svix 1.99.1, their own tests',
    scheme: signatureSchemes.standardWebhooks,
    secret: 'MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw',
    nowMs: 1_614_265_330_000,
    request: request(
      'https://hooks.example.com/x',
      {
        'webhook-id': 'msg_p5jXN8AQM9LWM0D4loKWxJek',
        'webhook-timestamp': '1614265330',
        'webhook-signature': 'v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=',
      },
      '{"test": 2432232314}',
    ),
  },
  {
    from: 'https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries',
    scheme: signatureSchemes.github,
    secret: "It's a Secret to Everybody",
    nowMs: 0,
    request: request(
      'https://hooks.example.com/x',
      {
        'X-Hub-Signature-256': 'sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17',
      },
      'Hello, World!',
    ),
  },
  {
    from: 'https://api.slack.com/authentication/verifying-requests-from-slack',
    scheme: signatureSchemes.slack,
    secret: '8f742231b10e8888abcd99yyyzzz85a5',
    nowMs: 1_531_420_618_000,
    request: request(
      'https://hooks.example.com/x',
      {
        'X-Slack-Request-Timestamp': '1531420618',
        'X-Slack-Signature': 'v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503',
      },
      'token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V' +
        '&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=' +
        '&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN' +
        '&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c',
    ),
  },
  {
    from: 'https://www.twilio.com/docs/usage/security',
    scheme: signatureSchemes.twilio,
    secret: '12345',
    nowMs: 0,
    request: request(
      'https://mycompany.com/myapp.php?foo=1&bar=2',
      {
        'X-Twilio-Signature': '0/KCTR6DLpKmkAf8muzZqo1nDgQ=',
        'Content-Type': 'application/x-www-form-urlencoded; charset=UTF-8',
      },
      TWILIO_FORM,
    ),
  },
  {
    from: 'the tests of the official Twilio libraries (twilio-java, twilio-node)',
    scheme: signatureSchemes.twilio,
    secret: '12345',
    nowMs: 0,
    request: request(
      'https://mycompany.com/myapp.php?foo=1&bar=2',
      {
        'x-twilio-signature': 'RSOYDt4T1cUTdK1PDd93/VVr8B8=',
        'content-type': 'application/x-www-form-urlencoded',
      },
      'To=%2B18005551212&CallSid=CA1234567890ABCDE&Digits=1234&From=%2B14158675309&Caller=%2B14158675309',
    ),
  },
  {
    from: 'https://developer.squareup.com/docs/webhooks/step3validate',
    scheme: signatureSchemes.square,
    secret: 'asdf1234',
    nowMs: 0,
    request: request(
      'https://example.com/webhook',
      { 'X-Square-HmacSha256-Signature': '2kRE5qRU2tR+tBGlDwMEw2avJ7QM4ikPYD/PJ3bd9Og=' },
      '{"hello":"world"}',
    ),
  },
]

describe('signatures that providers publish', () => {
  it.each(VECTORS.map((vector) => [vector.scheme.name, vector.from, vector] as const))(
    '%s: accepts the example of %s, and nothing one byte beside it',
    (_name, _from, { scheme, secret, nowMs, request }) => {
      const verify = (changed: Partial<SignedRequest>, secrets = [secret]) =>
        verifySignature(scheme, { ...request, ...changed }, secrets, nowMs)
      expect(verify({})).toMatchObject({ ok: true })
      expect(verify({ body: Buffer.concat([request.body, Buffer.from('x')]) })).toMatchObject({
        code: 'signature_invalid',
      })
      expect(verify({}, [`${secret}BBBB`])).toMatchObject({ code: 'signature_invalid' })
      expect(verify({}, ['BBBB', secret])).toMatchObject({ ok: true })
    },
  )

  it("matches Square's example only for the URL that Square was given", () => {
    const { scheme, secret, request } = VECTORS.find((vector) => vector.scheme.name === 'square')!
    for (const url of ['https://example.com/webhook/', 'http://example.com/webhook', ''])
      expect(verifySignature(scheme, { ...request, url }, [secret], 0)).toMatchObject({
        code: 'signature_invalid',
      })
  })
})
