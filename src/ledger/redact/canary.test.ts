import { describe, expect, it } from 'vitest'
import { seededRandom } from '../../base/index.ts'
import { canonicalJson } from '../canonical.ts'
import { Redactor, type Exchange, type SecretMarks } from './redactor.ts'

/**
 * Twenty secrets, each unlike any other, planted in one exchange each in its own way. Not one may be in what would
 * be written to the ledger: not as it is, not in a half of at least eight characters, not in base64.
 */
const random = seededRandom('canaries')
const canary = (n: number) => `cnry${String(n).padStart(2, '0')}${random.bytes(12).toString('hex')}`
const C = Array.from({ length: 20 }, (_, n) => canary(n))
const base64 = (text: string) => Buffer.from(text).toString('base64')
const half = (text: string) => [text.slice(0, text.length / 2), text.slice(text.length / 2)]

/** Those that only their value betrays. */
const KNOWN = [3, 4, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19]

const MARKS: Required<SecretMarks> = {
  secretHeaders: ['X-Partner-Note'],
  secretPaths: ['data.object.memo'],
  secretValues: KNOWN.map((n) => C[n]!),
}

const EXCHANGE: Exchange = {
  request: {
    method: 'POST',
    url: `https://user:${C[0]}@api.example.com/v1/${C[3]}/x?limit=1&access_token=${C[1]}&note=${encodeURIComponent(`é ${C[4]}`)}`,
    headers: {
      authorization: `Bearer ${C[2]}`,
      'x-partner-note': C[5]!,
      'x-trace': `Basic ${base64(`ada:${C[9]}`)}`,
      'content-type': 'application/json',
    },
    body: JSON.stringify({
      client_secret: C[6],
      data: { object: { memo: C[7], list: [{ deep: { api_key: [C[8]] } }] } },
      plain: `known ${C[10]} in a sentence`,
      inBase64: base64(`x${C[11]}`),
      inBase64Url: Buffer.from(`{"k":"${C[12]}"}`).toString('base64url'),
      inHex: Buffer.from(C[13]!).toString('hex'),
      pieces: half(C[14]!),
      escaped: 'ESCAPED',
      inJson: JSON.stringify({ inner: JSON.stringify({ k: C[16] }) }),
    }).replace('ESCAPED', Array.from(C[15]!, (c) => `\\u00${c.charCodeAt(0).toString(16)}`).join('')),
  },
  answer: {
    status: 400,
    headers: { 'set-cookie': `sid=${canary(99)}`, 'x-echo': C[17]!, 'content-type': 'text/html' },
    body: `<p>cannot use ${C[18]}</p>`,
  },
  error: `request to https://api.example.com/?q=${C[19]} failed`,
}

function written(marks: SecretMarks): string {
  return canonicalJson(new Redactor(marks).exchange(EXCHANGE))
}

/** Which canaries can be found in the text, by a look that knows the encodings. */
function found(text: string): number[] {
  const readable = [text, ...decoded(text)].join('\n')
  return C.flatMap((secret, n) =>
    [secret, ...half(secret)].some((part) => readable.includes(part)) ? [n] : [],
  )
}

function decoded(text: string): string[] {
  const unescaped = text.replaceAll(/\\+u00(..)/g, (_, hex: string) => String.fromCharCode(parseInt(hex, 16)))
  const runs = text.match(/[A-Za-z0-9+/_-]{16,}/g) ?? []
  return [
    unescaped,
    unescaped.replaceAll(/\\/g, ''),
    ...runs.flatMap((run) =>
      [0, 1, 2, 3].map((skip) => Buffer.from(run.slice(skip), 'base64').toString('latin1')),
    ),
    ...runs.flatMap((run) => [0, 1].map((skip) => Buffer.from(run.slice(skip), 'hex').toString('latin1'))),
  ]
}

describe('canaries', () => {
  it('are all found in the exchange as it came', () => {
    const raw = [EXCHANGE.request.url, EXCHANGE.request.body, EXCHANGE.answer!.body, EXCHANGE.error].join(
      '\n',
    )
    const headers = JSON.stringify([EXCHANGE.request.headers, EXCHANGE.answer!.headers])
    expect(found(`${raw}\n${headers}`)).toEqual(C.map((_, n) => n))
  })

  it('are not found in what is written', () => {
    const text = written(MARKS)
    expect(found(text)).toEqual([])
    expect(text).not.toContain('cnry')
    // What is no secret is still there.
    expect(text).toContain('in a sentence')
    expect(text).toContain('cannot use')
    expect(text).toContain('limit=1')
  })

  it.each(KNOWN.map((n) => [n]))('%i is found again if its value is not known', (n) => {
    expect(
      found(written({ ...MARKS, secretValues: MARKS.secretValues.filter((value) => value !== C[n]) })),
    ).toEqual(
      n === 9 ? [] : [n], // Basic credentials are told by their shape as well.
    )
  })

  it('are found again without the marks', () => {
    expect(found(written({ ...MARKS, secretHeaders: [] }))).toEqual([5])
    expect(found(written({ ...MARKS, secretPaths: [] }))).toEqual([7])
  })

  it('are not found when the body comes in the form of a known secret of any bytes', () => {
    for (const secret of ['päss"wörd\\<&> x/+', '😀 secret 🔑', 'a b+c%d&e=f/g?h']) {
      const redactor = new Redactor({ secretValues: [secret] })
      const texts = [
        secret,
        encodeURIComponent(secret),
        encodeURIComponent(secret).toLowerCase(),
        new URLSearchParams([['q', secret]]).toString(),
        JSON.stringify({ q: secret }),
        JSON.stringify({ q: JSON.stringify(secret) }),
        base64(secret),
        base64(`1${secret}1`),
        base64(`12${secret}`),
      ]
      for (const text of texts) {
        expect(redactor.text(`before ${text} after`)).toContain('[redacted]')
        expect(redactor.body(JSON.stringify({ text }), {})).toMatchObject({
          text: expect.stringContaining('[redacted]'),
        })
      }
    }
  })
})
