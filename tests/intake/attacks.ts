/** What is tried on the intake, and the answer that it gets. docs/guides/security.md has the same as a table. */
import { gzipSync } from 'node:zlib'
import { createHmac } from 'node:crypto'
import { systemClock } from '../../src/base/index.ts'
import { bodyOf, PATH, requestOf, SECRET, signatureOf, type Written } from './node.ts'

export interface Attack {
  readonly what: string
  /** The status, or `closed`: the connection is ended without one. */
  readonly answer: number | 'closed'
  readonly bytes: () => string | Buffer
}

type Row = readonly [what: string, answer: Attack['answer'], bytes: Written | (() => string | Buffer)]

const attacksOf = (rows: readonly Row[]): Attack[] =>
  rows.map(([what, answer, bytes]) => ({
    what,
    answer,
    bytes: typeof bytes === 'function' ? bytes : () => requestOf(bytes),
  }))

const BODY = bodyOf('evt_attack')
const seconds = (): number => Math.floor(systemClock.now() / 1000)
const mac = (algorithm: string, key: string, text: string): Buffer =>
  createHmac(algorithm, key).update(text).digest()
/** Signed by the secret, with `write` deciding how it is put down. */
const written =
  (write: (t: number, digest: Buffer) => string, algorithm = 'sha256', key = SECRET) =>
  (): string => {
    const t = seconds()
    return requestOf({ body: BODY, signature: write(t, mac(algorithm, key, `${t}.${BODY}`)) })
  }
const chunked = (text: string): (() => string) => {
  return () =>
    requestOf({ length: null, more: ['Transfer-Encoding: chunked'], body: BODY }).replace(
      `\r\n\r\n${BODY}`,
      `\r\n\r\n${text}`,
    )
}
const hex = (text: string): string => Buffer.byteLength(text).toString(16)
const whole = `${hex(BODY)}\r\n${BODY}\r\n0\r\n\r\n`

/** Signatures that are not the provider's. */
export const FORGERIES = attacksOf([
  ['no signature', 401, { signature: null }],
  ['a signature over another body', 401, { body: BODY, signature: signatureOf('{}') }],
  [
    'a signature by another secret',
    401,
    { body: BODY, signature: signatureOf(BODY, { secret: 'whsec_other' }) },
  ],
  [
    'a signature by another endpoint’s secret',
    401,
    { body: BODY, signature: signatureOf(BODY, { secret: 'whsec_of_another' }) },
  ],
  [
    'a signature by an empty secret',
    401,
    written((t, digest) => `t=${t},v1=${digest.toString('hex')}`, 'sha256', ''),
  ],
  [
    'a replay, signed over five minutes ago',
    401,
    () => requestOf({ body: BODY, signature: signatureOf(BODY, { at: systemClock.now() - 301_000 }) }),
  ],
  [
    'a signature from the future',
    401,
    () => requestOf({ body: BODY, signature: signatureOf(BODY, { at: systemClock.now() + 301_500 }) }),
  ],
  [
    'a replay with a new time',
    401,
    () =>
      requestOf({
        body: BODY,
        signature: signatureOf(BODY, { at: 1_700_000_000_000 }).replace(/t=\d+/, `t=${seconds()}`),
      }),
  ],
  ['the scheme `none`', 401, written((t) => `t=${t},none=`)],
  ['the scheme `none`, with a digest', 401, written((t, digest) => `t=${t},none=${digest.toString('hex')}`)],
  [
    'an older scheme of the provider (`v0`)',
    401,
    written((t, digest) => `t=${t},v0=${digest.toString('hex')}`),
  ],
  ['another algorithm: SHA-1', 401, written((t, digest) => `t=${t},v1=${digest.toString('hex')}`, 'sha1')],
  [
    'another algorithm: SHA-512',
    401,
    written((t, digest) => `t=${t},v1=${digest.toString('hex')}`, 'sha512'),
  ],
  [
    'another algorithm: SHA-512, cut to length',
    401,
    written((t, digest) => `t=${t},v1=${digest.toString('hex').slice(0, 64)}`, 'sha512'),
  ],
  ['another encoding: base64', 401, written((t, digest) => `t=${t},v1=${digest.toString('base64')}`)],
  ['a digest cut short', 401, written((t, digest) => `t=${t},v1=${digest.toString('hex').slice(0, 32)}`)],
  ['an empty digest', 401, written((t) => `t=${t},v1=`)],
  ['a digest with a prefix', 401, written((t, digest) => `t=${t},v1=0x${digest.toString('hex')}`)],
  ['two times', 401, written((t, digest) => `t=1,t=${t},v1=${digest.toString('hex')}`)],
  ['no time', 401, written((_, digest) => `v1=${digest.toString('hex')}`)],
  ['a time that is no whole number', 401, written((t, digest) => `t=${t}.0,v1=${digest.toString('hex')}`)],
  [
    'the good signature behind 16 bad ones',
    401,
    written((t, digest) => `t=${t},${'v1=00,'.repeat(17)}v1=${digest.toString('hex')}`),
  ],
  [
    'the header twice',
    401,
    () => requestOf({ body: BODY, more: [`Stripe-Signature: ${signatureOf(BODY)}`] }),
  ],
  ['a JSON Web Token in its place', 401, { body: BODY, signature: 'eyJhbGciOiJub25lIn0.e30.' }],
])

/** Requests that are signed and yet not taken. */
export const SHAPES = attacksOf([
  [
    '`Content-Length` and `Transfer-Encoding` (RFC 9112, 6.3)',
    400,
    () => requestOf({ more: ['Transfer-Encoding: chunked'] }),
  ],
  [
    '`Transfer-Encoding`, then `Content-Length`',
    400,
    () => requestOf({ length: null, more: ['Transfer-Encoding: chunked', 'Content-Length: 5'] }),
  ],
  ['two `Content-Length` that differ', 400, { more: ['Content-Length: 3'] }],
  [
    'two `Content-Length` that agree',
    400,
    () => requestOf({ body: BODY, more: [`Content-Length: ${Buffer.byteLength(BODY)}`] }),
  ],
  ['`Content-Length` as a list', 400, { length: '5, 5' }],
  ['`Content-Length` with a sign', 400, { length: '+5' }],
  ['`Content-Length` in hexadecimal', 400, { length: '0x10' }],
  ['`Content-Length` below zero', 400, { length: '-1' }],
  ['`Content-Length` beyond 64 bits', 400, { length: '99999999999999999999' }],
  [
    '`Transfer-Encoding: xchunked`',
    400,
    () => requestOf({ length: null, more: ['Transfer-Encoding: xchunked'] }),
  ],
  [
    '`Transfer-Encoding: chunked, identity`',
    400,
    () => requestOf({ length: null, more: ['Transfer-Encoding: chunked, identity'] }),
  ],
  [
    '`Transfer-Encoding : chunked`, with a space',
    400,
    () => requestOf({ length: null, more: ['Transfer-Encoding : chunked'] }),
  ],
  [
    '`Transfer-Encoding` twice',
    400,
    () =>
      requestOf({
        length: null,
        more: ['Transfer-Encoding: chunked', 'Transfer-Encoding: chunked'],
        body: BODY,
      }).replace(`\r\n\r\n${BODY}`, `\r\n\r\n${whole}`),
  ],
  [
    '`Transfer-Encoding: gzip, chunked`',
    415,
    () =>
      requestOf({ length: null, more: ['Transfer-Encoding: gzip, chunked'], body: BODY }).replace(
        `\r\n\r\n${BODY}`,
        `\r\n\r\n${whole}`,
      ),
  ],
  ['a chunk size that is no number', 400, chunked(`zz\r\n${BODY}\r\n0\r\n\r\n`)],
  ['a chunk size with a sign', 400, chunked(`+${whole}`)],
  ['a chunk size as `0x`', 400, chunked(`0x${whole}`)],
  ['a chunk size beyond 64 bits', 400, chunked(`ffffffffffffffffff\r\n${BODY}`)],
  ['a chunk that is longer than its size', 400, chunked(`1\r\n${BODY}\r\n0\r\n\r\n`)],
  ['chunk extensions of over 16 KiB', 413, chunked(`1;${'a'.repeat(17_000)}\r\n`)],
  ['a folded header (obs-fold, RFC 9112, 5.2)', 400, { more: ['X-A: b', ' c: d'] }],
  ['a header without a colon', 400, { more: ['X-A'] }],
  ['a bare CR in a header', 400, { more: ['X-A: b\rX-B: c'] }],
  ['a NUL in a header', 400, { more: ['X-A: b\0c'] }],
  ['a space before the first header', 400, () => requestOf().replace('\r\nHost', '\r\n Host')],
  ['HTTP/1.1 without `Host`', 400, { host: null }],
  ['HTTP/1.2', 400, { version: '1.2' }],
  ['HTTP/2 in the clear', 400, () => 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'],
  ['no HTTP at all', 400, () => '\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03'],
  ['a request line without a version (HTTP/0.9)', 415, () => `POST ${PATH}\r\n\r\n`],
  ['a header of over 16 KiB', 431, { more: [`X-A: ${'a'.repeat(17_000)}`] }],
  ['more than 100 headers', 431, { more: Array.from({ length: 100 }, (_, i) => `X-${i}: 1`) }],
  [
    'a header flood without an end',
    431,
    () => `POST ${PATH} HTTP/1.1\r\nHost: x\r\n${'X-A: b\r\n'.repeat(5000)}`,
  ],
  ['a request line of over 16 KiB', 431, { target: `${PATH}?${'a'.repeat(17_000)}` }],
  ['a body of over 1 MiB, announced', 413, () => requestOf({ body: 'x', length: '1048577' })],
  [
    'a body of over 1 MiB, chunked without a length',
    413,
    chunked(`10000\r\n${'x'.repeat(65_536)}\r\n`.repeat(17)),
  ],
  ['a compressed body', 415, () => requestOf({ more: ['Content-Encoding: gzip'] })],
  [
    'a bomb: 50 MB as gzip',
    415,
    () => {
      const bomb = gzipSync(Buffer.alloc(50_000_000))
      const head = requestOf({ body: '', length: String(bomb.length), more: ['Content-Encoding: gzip'] })
      return Buffer.concat([Buffer.from(head), bomb])
    },
  ],
  ['another content type', 415, () => requestOf().replace('application/json', 'text/plain')],
  ['two content types', 415, { more: ['Content-Type: application/json'] }],
  ['another method', 405, { method: 'PUT' }],
  ['`TRACE`', 405, () => requestOf({ method: 'TRACE', body: '', length: null, signature: null })],
  ['a method that is none', 400, { method: 'P0ST' }],
  ['`CONNECT`', 'closed', () => `CONNECT x:443 HTTP/1.1\r\nHost: x\r\n\r\n`],
  ['`Expect` of what we do not know', 417, { more: ['Expect: the-unexpected'] }],
])

/** Other ways to write an endpoint’s path. */
export const TARGETS = attacksOf([
  ['an unknown path', 404, { target: '/webhooks/nobody' }],
  ['`%73hop`: a letter percent-encoded', 404, { target: '/webhooks/%73hop' }],
  ['`/webhooks%2fshop`', 404, { target: '/webhooks%2fshop' }],
  ['`//webhooks/shop`', 404, { target: '//webhooks/shop' }],
  ['`/webhooks//shop`', 404, { target: '/webhooks//shop' }],
  ['`/webhooks/shop/`', 404, { target: '/webhooks/shop/' }],
  ['`/webhooks/./shop`', 404, { target: '/webhooks/./shop' }],
  ['`/webhooks/x/../shop`', 404, { target: '/webhooks/x/../shop' }],
  ['`/webhooks/x/%2e%2e/shop`', 404, { target: '/webhooks/x/%2e%2e/shop' }],
  ['`/x/../webhooks/shop`', 404, { target: '/x/../webhooks/shop' }],
  ['`/webhooks/../api/v1/runs`', 404, { target: '/webhooks/../api/v1/runs' }],
  ['`/webhooks/SHOP`', 404, { target: '/webhooks/SHOP' }],
  ['`/WEBHOOKS/shop`', 404, { target: '/WEBHOOKS/shop' }],
  ['`/webhooks/shop;x=1`', 404, { target: '/webhooks/shop;x=1' }],
  ['`/webhooks/shop%00`', 404, { target: '/webhooks/shop%00' }],
  ['`/webhooks\\shop`', 400, { target: '/webhooks\\shop' }],
  ['`/webhooks/__proto__`', 404, { target: '/webhooks/__proto__' }],
  ['the absolute form, `http://x/webhooks/shop`', 404, { target: 'http://x/webhooks/shop' }],
  ['a fragment in the target', 404, { target: '/webhooks/shop#x' }],
  ['`*`', 400, { target: '*' }],
  ['a space in the target', 400, { target: '/webhooks/sh op' }],
])

/** Unusual, and taken: the signature is good and nothing is ambiguous. */
export const TAKEN = attacksOf([
  ['HTTP/1.0', 200, () => requestOf({ version: '1.0' })],
  [
    'chunked, without a length',
    200,
    () => {
      const body = bodyOf()
      return requestOf({ body, length: null, more: ['Transfer-Encoding: chunked'] }).replace(
        `\r\n\r\n${body}`,
        `\r\n\r\n5\r\n${body.slice(0, 5)}\r\n${hex(body.slice(5))};x=y\r\n${body.slice(5)}\r\n0\r\nX-Trailer: 1\r\n\r\n`,
      )
    },
  ],
  ['a query after the path', 200, () => requestOf({ target: `${PATH}?a=1` })],
  [
    'a good signature beside bad ones (a secret that is being rolled)',
    200,
    () => {
      const body = bodyOf()
      return requestOf({ body, signature: signatureOf(body).replace(',v1=', `,v1=${'0'.repeat(64)},v1=`) })
    },
  ],
  [
    '`X-Forwarded-For` of anybody: it is not read',
    200,
    () => requestOf({ more: ['X-Forwarded-For: 127.0.0.1', 'Forwarded: for=10.0.0.1'] }),
  ],
  ['`Expect: 100-continue`', 200, () => requestOf({ more: ['Expect: 100-continue'] })],
  [
    '`Upgrade: websocket`: it is not upgraded',
    200,
    () => requestOf({ more: ['Connection: Upgrade', 'Upgrade: websocket'] }),
  ],
])
