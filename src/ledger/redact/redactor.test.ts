import { hash } from 'node:crypto'
import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { isSecretName, isSecretParameter } from './names.ts'
import { BODY_LIMIT, Redactor, type Exchange, type KeptBody } from './redactor.ts'

const JSON_TYPE = { 'content-type': 'application/json; charset=utf-8' }

function textOf(body: KeptBody | undefined): string {
  expect(body?.kind).toBe('text')
  return body?.kind === 'text' ? body.text : ''
}

function redactBody(body: string, marks = {}): string {
  return textOf(new Redactor(marks).body(body, JSON_TYPE))
}

describe('an exchange', () => {
  it('is kept whole where nothing in it is secret', () => {
    const body = '{ "id": 12345678901234567890,\n "amount": 1.50, "amount": 2, "note": "a \\" b" }'
    const exchange: Exchange = {
      request: {
        method: 'GET',
        url: 'https://api.example.com/v1/customers?limit=3&page_token=x#top',
        headers: { accept: '*/*' },
      },
      answer: { status: 200, headers: { ...JSON_TYPE, 'x-request-id': 'req_1' }, body },
    }
    expect(new Redactor({ secretValues: ['unrelated secret'] }).exchange(exchange)).toEqual({
      request: exchange.request,
      answer: {
        status: 200,
        headers: exchange.answer!.headers,
        body: { kind: 'text', text: body, bytes: body.length, sha256: hash('sha256', body, 'hex') },
      },
    })
  })

  it('loses its secrets by name: headers, query, fragment, user info, JSON and form fields', () => {
    const redacted = new Redactor({ secretHeaders: ['x-custom'] }).exchange({
      request: {
        method: 'POST',
        url: 'https://user:pass@api.example.com/x?api_key=k1&limit=2&%61ccess_token=k2#access_token=k3&a=b',
        headers: {
          Authorization: 'Bearer abc',
          Cookie: ['a=1', 'b=2'],
          'X-Api-Key': 'k4',
          'X-Custom': 'k5',
          'Idempotency-Key': 'run_1.step',
          'content-type': 'application/x-www-form-urlencoded',
        },
        body: 'amount=5&client_secret=k6&card%5Bnumber%5D=k7&card[cvc]=k8&empty_token=&flag',
      },
      answer: {
        status: 200,
        headers: { 'Set-Cookie': 'sid=k9', ...JSON_TYPE },
        body: '{"access_token":"k10","token_type":"bearer","nested":{"password":{"deep":["k11"]},"list":[{"ApiKey":12}]},"has_password":true,"iban":null,"pin":""}',
      },
      error: 'request failed: password=k12 at https://u:p@h/',
    })
    expect(redacted).toEqual({
      request: {
        method: 'POST',
        url: 'https://[redacted]@api.example.com/x?api_key=[redacted]&limit=2&%61ccess_token=[redacted]#access_token=[redacted]&a=b',
        headers: {
          authorization: '[redacted]',
          cookie: '[redacted]',
          'x-api-key': '[redacted]',
          'x-custom': '[redacted]',
          'idempotency-key': 'run_1.step',
          'content-type': 'application/x-www-form-urlencoded',
        },
        body: {
          kind: 'text',
          bytes: 76,
          text: 'amount=5&client_secret=[redacted]&card%5Bnumber%5D=[redacted]&card[cvc]=[redacted]&empty_token=&flag',
        },
      },
      answer: {
        status: 200,
        headers: { 'set-cookie': '[redacted]', ...JSON_TYPE },
        body: {
          kind: 'text',
          bytes: 147,
          text: '{"access_token":"[redacted]","token_type":"bearer","nested":{"password":"[redacted]","list":[{"ApiKey":"[redacted]"}]},"has_password":true,"iban":null,"pin":""}',
        },
      },
      error: 'request failed: password=[redacted] at https://[redacted]@h/',
    })
  })

  it('loses what its connector marks, at any position of a list', () => {
    const marks = { secretPaths: ['data.lines.0.note', 'top', 'a.*.b'] }
    expect(
      redactBody(
        '{"data":{"lines":[{"note":1},{"note":[2]}],"note":3},"top":{"x":4},"note":5,"a":[{"b":6,"c":7}]}',
        marks,
      ),
    ).toBe(
      '{"data":{"lines":[{"note":"[redacted]"},{"note":"[redacted]"}],"note":3},"top":"[redacted]","note":5,"a":[{"b":"[redacted]","c":7}]}',
    )
    const form = new Redactor({ secretPaths: ['lines.note'] }).body('lines[0][note]=x&note=y', {
      'content-type': 'application/x-www-form-urlencoded',
    })
    expect(textOf(form)).toBe('lines[0][note]=[redacted]&note=y')
  })
})

describe('a body', () => {
  it.each([
    ['{"a":"x","password":"secr', '{"a":"x","password":"[redacted]"'],
    ['{"password":', '{"password":'],
    ['{"pass\\u0077ord":"x","b":1}', '{"pass\\u0077ord":"[redacted]","b":1}'],
    ['{"password" : "a\\"b\\\\" , "b":1}', '{"password" : "[redacted]" , "b":1}'],
    [
      '[{"password":1},{"b":2}] {"password":[1,"]"]}',
      '[{"password":"[redacted]"},{"b":2}] {"password":"[redacted]"}',
    ],
    ['{"password":"x","password":"y"}', '{"password":"[redacted]","password":"[redacted]"}'],
    ['"password"', '"password"'],
    [
      '{"text":"{\\"password\\":\\"hunter22\\",\\"b\\":1}"}',
      '{"text":"{\\"password\\":\\"[redacted]\\",\\"b\\":1}"}',
    ],
    [
      '{"card":{"number":"1","brand":"x"},"number":"2"}',
      '{"card":{"number":"[redacted]","brand":"x"},"number":"2"}',
    ],
    ['', ''],
  ])('%s becomes %s', (body, expected) => {
    expect(body === '' ? '' : redactBody(body)).toBe(expected)
  })

  it('is cut, and says its length', () => {
    const body = JSON.stringify({ text: 'ab'.repeat(10_000) })
    const kept = { kind: 'text', cut: true, sha256: hash('sha256', body, 'hex') }
    expect(new Redactor().body(body, JSON_TYPE)).toEqual({
      ...kept,
      text: body.slice(0, BODY_LIMIT),
      bytes: body.length,
    })
    // The limit may fall within a character.
    const wide = textOf(new Redactor().body('😀'.repeat(5_000), {}))
    expect(wide).toMatch(/^(?:😀)+$/u)
  })

  it('never shows the half of a secret that the cut goes through', () => {
    const secret = 'q7Gz'.repeat(300)
    const redactor = new Redactor({ secretValues: [secret] })
    for (let before = BODY_LIMIT - 4_000; before <= BODY_LIMIT + 1_300; before += 13) {
      const filler = 'x'.repeat(before)
      for (const body of [
        `${filler} ${secret} ${filler}`,
        `{"a":"${secret} ${secret} ${secret}","b":"${filler} ${secret}"}`,
      ])
        expect(textOf(redactor.body(body, JSON_TYPE))).not.toContain('q7Gz')
      expect(redactor.text(`${'x'.repeat(Math.max(0, before - 6_000))} ${secret}`)).not.toContain('q7Gz')
    }
  })

  it('says of binary data only what it is', () => {
    const bytes = Buffer.from([0x89, 0x50, 0x00, 0xff])
    const summary = { kind: 'binary', bytes: 4, sha256: hash('sha256', bytes, 'hex') }
    const redactor = new Redactor()
    expect(redactor.body(bytes, { 'Content-Type': ['image/png'] })).toEqual({
      ...summary,
      contentType: 'image/png',
    })
    expect(redactor.body(bytes, {})).toEqual({ ...summary, contentType: '' })
    expect(
      redactor.body('--x\r\npassword', { 'content-type': 'multipart/form-data; boundary=x' }),
    ).toMatchObject({
      kind: 'binary',
    })
  })

  it('says no hash of what was redacted, since the rest would give the secret away', () => {
    expect(new Redactor().body('{"cvc":"123"}', JSON_TYPE)).toEqual({
      kind: 'text',
      text: '{"cvc":"[redacted]"}',
      bytes: 13,
    })
  })

  it('is kept as it came for any JSON without secrets', () => {
    fc.assert(
      fc.property(fc.jsonValue({ stringUnit: 'grapheme' }), fc.nat(3), (value, space) => {
        const body = JSON.stringify({ list: [value] }, undefined, space)
        if (body.length > BODY_LIMIT || /[@:=>]|\d{4}/.test(JSON.stringify(value))) return
        expect(redactBody(body, { secretValues: ['unrelated secret'] })).toBe(body)
      }),
    )
  })

  it('stays JSON with any secret key, wherever it is', () => {
    fc.assert(
      fc.property(
        fc.jsonValue({ stringUnit: 'grapheme', maxDepth: 3 }),
        fc.jsonValue({ stringUnit: 'grapheme', maxDepth: 3 }),
        (value, secret) => {
          const body = JSON.stringify({ a: [value, { password: secret, b: 1 }], c: 2 })
          if (body.length > BODY_LIMIT || /[@:=>]|\d{4}/.test(JSON.stringify(value))) return
          const nothing = secret === null || secret === '' || typeof secret === 'boolean'
          expect(JSON.parse(redactBody(body))).toEqual({
            ...JSON.parse(body),
            a: [JSON.parse(JSON.stringify(value)), { password: nothing ? secret : '[redacted]', b: 1 }],
          })
        },
      ),
    )
  })

  it('never throws, whatever the bytes are', () => {
    const redactor = new Redactor({ secretValues: ['some secret'], secretPaths: ['a.b'] })
    const json = fc.array(
      fc.constantFrom('{', '}', '[', ']', '"', '\\', ':', ',', 'a', 'password', ' ', '1', '\ud800'),
    )
    fc.assert(
      fc.property(
        fc.oneof(
          fc.uint8Array(),
          json.map((parts) => parts.join('')),
        ),
        (body) => {
          redactor.exchange({
            request: { method: 'POST', url: String(body), headers: {}, body },
            error: String(body),
          })
          redactor.body(body, JSON_TYPE)
        },
      ),
      { numRuns: 2_000 },
    )
  })
})

describe('texts', () => {
  it.each([
    ['401 for Bearer abcdef123456', '401 for Bearer [redacted]'],
    ['sent Basic dXNlcjpwYXNz', 'sent Basic [redacted]'],
    [
      'Bearer authentication and Basic information are words',
      'Bearer authentication and Basic information are words',
    ],
    ['connect postgres://u:p@db/x failed', 'connect postgres://[redacted]@db/x failed'],
    ['mail ada@example.com', 'mail ada@example.com'],
    ['No such key: sk_test_51Habcdefgh', 'No such key: [redacted]'],
    [`called with trs_${'a1B2'.repeat(12)}c, and failed`, 'called with [redacted], and failed'],
    ['trs_short is none', 'trs_short is none'],
    ['pi_1_secret_abcdefgh1', '[redacted]'],
    ['jwt eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln', 'jwt [redacted]'],
    ['-----BEGIN PRIVATE KEY-----\nabc\n-----END PRIVATE KEY----- x', '[redacted] x'],
    ['card 4242 4242 4242 4242 declined', 'card [redacted] declined'],
    ['order 4242424242424241', 'order 4242424242424241'],
    ['at 1764000000123, id 1234567890123456', 'at 1764000000123, id 1234567890123456'],
    ["api_key: 'abc', password=x; ok=1", "api_key: '[redacted]', password=[redacted]; ok=1"],
    ['<password>x</password>', '<password>[redacted]</password>'],
    ['{"status":"token_expired","code":190}', '{"status":"token_expired","code":190}'],
  ])('%s becomes %s', (text, expected) => {
    expect(new Redactor().text(text)).toBe(expected)
  })
})

describe('names', () => {
  it.each(
    'token access_token refreshToken X-Auth-Token client_secret password Passwd api_key apiKey X-API-KEY authorization private_key cvc card_number iban account_number proxy-authorization x-amz-security-token webhookSecret'.split(
      ' ',
    ),
  )('%s announces a secret', (name) => expect(isSecretName(name)).toBe(true))
  it.each(
    'token_type next_page_token pageToken total_tokens sid id key number code status author idempotency-key exp_month last4 cvc_check passenger compass signature'.split(
      ' ',
    ),
  )('%s does not', (name) => expect(isSecretName(name)).toBe(false))
  it.each('key sig signature code access_token X-Amz-Signature'.split(' '))('%s does in a URL', (name) =>
    expect(isSecretParameter(name)).toBe(true),
  )
})
