import { readFileSync } from 'node:fs'
import { simpleParser } from 'mailparser'
import { createTransport } from 'nodemailer'
import { afterEach, describe, expect, it } from 'vitest'
import { systemClock } from '../../src/base/index.ts'
import {
  createCalls,
  type CallConnection,
  type CallOutcome,
  type CallRequest,
} from '../../src/calls/index.ts'
import { createEgress, type EgressOptions } from '../../src/egress/index.ts'
import { describeDeclaration } from '../../tests/conformance/declaration.ts'
import { describeFixtures } from '../../tests/conformance/fixtures.ts'
import { vitestHarness } from '../../tests/conformance/harness.ts'
import type { ConformanceOptions } from '../../tests/conformance/suite.ts'
import type { Twin } from '../../src/testing/index.ts'
import { smtp } from './index.ts'
import { createSmtpTwin, type SmtpTwin, type SmtpTwinOptions } from './twin.ts'

// The other checks of the suite are of HTTP.
const declared = {
  connector: smtp,
  folder: new URL('.', import.meta.url),
  samples: { send: {}, sendAtLeastOnce: {}, verify: {} },
} as unknown as ConformanceOptions<Twin>
describeDeclaration(declared, vitestHarness)
describeFixtures(declared, vitestHarness)

const fixtures = new URL('../../src/egress/fixtures/', import.meta.url)
const CERTIFICATE = readFileSync(new URL('localhost-cert.pem', fixtures), 'utf8')
const KEY = readFileSync(new URL('localhost-key.pem', fixtures), 'utf8')

const MAIL = {
  from: 'Shop <shop@example.com>',
  to: ['Ada Lovelace <ada@example.com>', 'bob@example.com'],
  subject: 'Ihre Bestellung – bezahlt ✓',
  text: 'Zeile eins\n.\n..zwei\nFrom hier: ü',
  html: '<p>Zeile <b>eins</b> ü</p>',
}

const open: (() => Promise<unknown>)[] = []
afterEach(async () => {
  for (const close of open.splice(0).reverse()) await close()
})

async function twinOf(options: SmtpTwinOptions = {}): Promise<SmtpTwin> {
  const twin = createSmtpTwin(options)
  await twin.start()
  open.push(() => twin.stop())
  return twin
}

interface Sending {
  readonly login?: SmtpTwin['login']
  readonly baseUrl?: string
  readonly key?: string
  readonly operation?: 'send' | 'verify'
  readonly allowPrivate?: boolean
  readonly egress?: Partial<EgressOptions>
  readonly over?: Partial<CallRequest>
}

/** One attempt, as a flow's step makes it. */
async function attempt(twin: SmtpTwin, input: unknown, sending: Sending = {}): Promise<CallOutcome> {
  const { key = 'key_1', operation = 'send', allowPrivate = true } = sending
  const login = sending.login ?? twin.login
  const egress = createEgress({ clock: systemClock, ...sending.egress })
  open.push(() => egress.destroy())
  const calls = createCalls({
    clock: systemClock,
    send: egress.send,
    mail: egress.mail,
    authorize: async (_, request) => ({ ...request, login, secretHeaders: [], credentialVersion: '1' }),
    refreshAfterUnauthorized: async () => ({
      as: 'refused',
      code: 'credential_refused',
      reason: 'No other.',
    }),
    secretValuesOf: async () => (login === undefined ? [] : [login.password]),
  })
  const connection: CallConnection = {
    id: 'con_1',
    name: 'mail',
    tenant: 'default',
    connector: smtp,
    baseUrl: sending.baseUrl ?? twin.url,
    settings: {},
    allowPrivate,
  }
  return calls.call({
    tenant: 'default',
    connection,
    operationName: operation,
    operation: smtp.operations[operation],
    input,
    idempotencyKey: key,
    begunAt: 1_795_338_000_000,
    runId: 'run_1',
    stepName: operation,
    attempt: 1,
    kind: 'send',
    ...sending.over,
  })
}

describe('a mail', () => {
  it('arrives as it was written, held against the official client and parser', async () => {
    const attachments = [
      { filename: 'Rechnung ü.pdf', contentType: 'application/pdf', base64: 'JVBERi0xLjQK' },
      { filename: 'a.txt', base64: Buffer.from('a\r\n.\r\nb').toString('base64') },
    ]
    const written = {
      ...MAIL,
      cc: ['carl@example.com'],
      bcc: ['dora@example.com'],
      replyTo: 'Help <help@example.com>',
      headers: { 'X-Order': '1234', 'List-Unsubscribe': '<https://example.com/u>' },
      attachments,
    }
    const twin = await twinOf()
    expect(await attempt(twin, written)).toMatchObject({ as: 'succeeded' })
    const { port } = new URL(twin.url)
    const { bcc, ...shown } = written
    await createTransport({
      host: '127.0.0.1',
      port: Number(port),
      auth: { user: twin.login!.username, pass: twin.login!.password },
      ignoreTLS: true,
    }).sendMail({
      ...shown,
      bcc,
      attachments: attachments.map(({ base64, ...rest }) => ({
        ...rest,
        content: base64,
        encoding: 'base64',
      })),
    })
    const [ours, theirs] = await Promise.all(twin.mails().map(({ raw }) => simpleParser(raw)))
    for (const field of ['subject', 'text', 'html', 'from', 'to', 'cc', 'replyTo'] as const)
      expect(ours![field]).toEqual(theirs![field])
    expect(ours!.bcc).toBeUndefined()
    expect(ours!.attachments.map(({ filename, content }) => [filename, content.toString()])).toEqual(
      theirs!.attachments.map(({ filename, content }) => [filename, content.toString()]),
    )
    expect(ours!.headers.get('x-order')).toBe('1234')
    expect(ours!.subject).toBe(MAIL.subject)
    expect(ours!.messageId).toBe('<key_1@example.com>')
    expect(twin.mails()[0]!.to.toSorted()).toEqual(
      ['ada', 'bob', 'carl', 'dora'].map((name) => `${name}@example.com`),
    )
  })

  it('is the same in every attempt of a step: the same bytes, and another Message-ID for another step', async () => {
    const twin = await twinOf()
    await attempt(twin, MAIL)
    await attempt(twin, MAIL)
    await attempt(twin, MAIL, { key: 'key_2' })
    const [first, again, other] = twin.mails()
    expect(again!.raw).toBe(first!.raw)
    expect(other!.messageId).toBe('<key_2@example.com>')
  })

  it('gives an answer in short, and shows the ledger neither password nor text', async () => {
    const twin = await twinOf()
    const outcome = await attempt(twin, MAIL)
    expect(outcome).toMatchObject({
      as: 'succeeded',
      output: {
        accepted: ['ada@example.com', 'bob@example.com'],
        rejected: [],
        reply: { code: 250, enhanced: '2.0.0' },
      },
      summary: expect.stringMatching(/^mail to Ada Lovelace .* and 1 more/) as string,
    })
    const { exchange } = outcome as Extract<CallOutcome, { as: 'succeeded' }>
    expect(exchange.request).toMatchObject({
      method: 'MAIL',
      url: twin.url,
      headers: { from: 'shop@example.com', 'message-id': '<key_1@example.com>' },
      body: { kind: 'binary', contentType: 'message/rfc822' },
    })
    const kept = JSON.stringify(exchange)
    expect(kept).not.toContain(twin.login!.password)
    expect(kept).not.toContain('Zeile')
  })

  it('that one of two recipients is refused is sent, and says so', async () => {
    const twin = await twinOf()
    twin.arm(1, {
      kind: 'reply',
      command: 'RCPT',
      code: 550,
      text: '5.1.1 No such user',
      to: 'bob@example.com',
    })
    expect(await attempt(twin, MAIL)).toMatchObject({
      as: 'succeeded',
      output: {
        accepted: ['ada@example.com'],
        rejected: [{ address: 'bob@example.com', code: 550, enhanced: '5.1.1' }],
      },
      summary: expect.stringContaining('(1 refused)') as string,
    })
    expect(twin.mails()[0]!.to).toEqual(['ada@example.com'])
  })
})

describe('what a reply means', () => {
  it.each([
    [
      'greylisted',
      { command: 'RCPT', code: 451, text: '4.7.1 Greylisted' },
      { as: 'failed', retryable: true, code: 'smtp_451' },
    ],
    [
      'closing',
      { command: 'MAIL', code: 421, text: '4.3.2 Closing' },
      { as: 'failed', retryable: true, code: 'provider_unavailable' },
    ],
    [
      'spam',
      { command: 'DATA', code: 554, text: '5.7.1 Spam' },
      { as: 'failed', retryable: false, code: 'smtp_554' },
    ],
    [
      'nobody',
      { command: 'RCPT', code: 550, text: '5.1.1 No such user' },
      { as: 'failed', retryable: false, code: 'smtp_550' },
    ],
    [
      'login for later',
      { command: 'AUTH', code: 454, text: '4.7.0 Not now' },
      { as: 'failed', retryable: true, code: 'smtp_454' },
    ],
    [
      'login refused',
      { command: 'AUTH', code: 535, text: '5.7.8 No' },
      { as: 'parked', code: 'credential_refused' },
    ],
  ] as const)('%s', async (_, reply, outcome) => {
    const twin = await twinOf()
    twin.arm(10, { kind: 'reply', ...reply })
    expect(await attempt(twin, MAIL)).toMatchObject(outcome)
    expect(twin.mails()).toEqual([])
  })

  it('a connection that is cut after the mail is in doubt, whether it was taken or not', async () => {
    for (const taken of [true, false]) {
      const twin = await twinOf()
      twin.arm(1, { kind: 'cut', taken })
      expect(await attempt(twin, MAIL)).toMatchObject({ as: 'in_doubt', code: 'connection_lost' })
      expect(twin.mails()).toHaveLength(taken ? 1 : 0)
    }
  })

  it('nobody there is tried again', async () => {
    const twin = await twinOf()
    const { url } = twin
    await twin.stop()
    expect(await attempt(twin, MAIL, { baseUrl: url })).toMatchObject({ as: 'failed', retryable: true })
  })
})

describe('the check', () => {
  it('logs in and sends nothing', async () => {
    const twin = await twinOf()
    expect(await attempt(twin, {}, { operation: 'verify' })).toMatchObject({
      as: 'succeeded',
      output: { reply: { code: 235 } },
    })
    const login = { username: 'trestle', password: 'another' }
    expect(await attempt(twin, {}, { operation: 'verify', login })).toMatchObject({ as: 'parked' })
    expect(twin.mails()).toEqual([])
  })
})

describe('TLS', () => {
  const tls = { key: KEY, cert: CERTIFICATE }
  const resolve: EgressOptions['resolve'] = (_, done) => done(null, [{ address: '127.0.0.1', family: 4 }])
  const named = (twin: SmtpTwin, host: string): string => twin.url.replace('127.0.0.1', host)

  it.each(['tls', 'starttls'] as const)('by %s: a good certificate, and no other', async (security) => {
    const twin = await twinOf({ security, tls })
    const baseUrl = named(twin, 'good.example')
    const good = { baseUrl, egress: { resolve, ca: CERTIFICATE } }
    expect(await attempt(twin, MAIL, good)).toMatchObject({ as: 'succeeded' })
    expect(await attempt(twin, MAIL, { baseUrl, egress: { resolve } })).toMatchObject({
      as: 'failed',
      code: 'tls_failed',
    })
    const wrongName = { ...good, baseUrl: named(twin, 'other.example') }
    expect(await attempt(twin, MAIL, wrongName)).toMatchObject({ as: 'failed', code: 'tls_failed' })
    expect(twin.mails()).toHaveLength(1)
  })

  it('is not done without: STARTTLS that was taken away on the way sends neither password nor mail', async () => {
    const twin = await twinOf()
    const baseUrl = twin.url.replace('?tls=none', '')
    expect(await attempt(twin, MAIL, { baseUrl })).toMatchObject({ as: 'failed', code: 'tls_failed' })
    expect(await attempt(twin, MAIL, { allowPrivate: false })).toMatchObject({ code: 'egress_denied' })
    expect(twin.mails()).toEqual([])
  })
})

describe('an attack by', () => {
  it.each<[string, Partial<Record<string, unknown>>]>([
    ['a recipient with a line break', { to: ['ada@example.com>\r\nRCPT TO:<eve@example.com'] }],
    ['a recipient that is two', { to: ['ada@example.com, eve@example.com'] }],
    ['a recipient in a group', { to: ['friends: eve@example.com;'] }],
    ['a name with a line break', { to: ['Ada\r\nBcc: eve@example.com <ada@example.com>'] }],
    ['a sender with a line break', { from: 'shop@example.com\nBcc: eve@example.com' }],
    ['a sender with a parameter', { from: 'shop@example.com> SIZE=1 <' }],
    ['a reply address with a line break', { replyTo: 'a@example.com\r\nBcc: eve@example.com' }],
    ['a subject with a line break', { subject: 'x\r\nBcc: eve@example.com' }],
    ['a subject with a bare CR', { subject: 'x\rBcc: eve@example.com' }],
    ['a header with a line break', { headers: { 'X-A': 'x\r\nBcc: eve@example.com' } }],
    ['a header whose name holds another', { headers: { 'X-A: x\r\nBcc': 'eve@example.com' } }],
    ['a header that the mail has', { headers: { bcc: 'eve@example.com' } }],
    ['a header of the servers', { headers: { Received: 'from bank.example' } }],
    ['a file name with a line break', { attachments: [{ filename: 'a\r\nX-B: 1', base64: '' }] }],
    [
      'a content type with a header',
      { attachments: [{ filename: 'a', contentType: 'a/b\r\nX-B: 1', base64: '' }] },
    ],
    [
      'a file of the machine',
      { attachments: [{ filename: 'a', base64: '', path: '/etc/passwd' }], text: '', html: '' },
    ],
  ])('%s is refused before anything leaves', async (_, part) => {
    const twin = await twinOf()
    expect(await attempt(twin, { ...MAIL, ...part })).toMatchObject({ as: 'failed', retryable: false })
    expect(twin.mails()).toEqual([])
  })

  it('a text with SMTP in it is text', async () => {
    const twin = await twinOf()
    const text = 'a\r\n.\r\nMAIL FROM:<eve@example.com>\n.\nb\r.\rc'
    expect(await attempt(twin, { ...MAIL, html: undefined, text })).toMatchObject({ as: 'succeeded' })
    expect(twin.mails()).toHaveLength(1)
    expect(twin.mails()[0]!.raw).toContain('MAIL FROM')
  })
})
