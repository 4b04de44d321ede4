import { afterEach, describe, expect, it } from 'vitest'
import { atPath, parseJson, type Mail } from '../../base/index.ts'
import { createFakeClock, type FakeClock } from '../../testing/index.ts'
import { gate } from '../../../tests/support/runBench.ts'
import { closeAll, closeLater, egress, toThisMachine } from '../egress.fixture.ts'
import type { EgressOptions, EgressResult } from '../index.ts'
import { composeMail } from './compose.ts'
import type { MailExchangeRequest } from './exchange.ts'
import { cut, openScripted, type ScriptedServer, type SmtpScript } from './server.fixture.ts'

const MAIL: Mail = {
  from: 'Shop <shop@example.com>',
  to: ['ada@example.com', 'bob@example.com'],
  subject: 'Your order',
  text: 'It is on its way.\n.\nA line with a dot alone is no end.',
}

afterEach(closeAll)

async function server(script: SmtpScript = {}): Promise<ScriptedServer> {
  const made = await openScripted(script)
  closeLater(made)
  return made
}

async function send(
  { port }: ScriptedServer,
  over: Partial<MailExchangeRequest> = {},
  options: Partial<EgressOptions> = {},
): Promise<EgressResult> {
  return egress(options).mail({
    server: { host: '127.0.0.1', port, security: 'none' },
    mail: await composeMail(MAIL, { id: 'key_1', at: 1_795_338_000_000 }),
    timeoutMs: 15 * 60_000,
    allowPrivate: true,
    ...over,
  })
}

const attached = (contentType: string, text: string): Partial<Mail> => ({
  attachments: [{ filename: 'a.eml', contentType, base64: Buffer.from(text).toString('base64') }],
})

const bodyOf = (result: EgressResult): unknown =>
  result.as === 'answered' ? parseJson(result.body) : undefined

/** Moves the time on until the exchange is over. */
async function overTime(result: Promise<EgressResult>, clock: FakeClock, ms: number): Promise<EgressResult> {
  const again = Symbol('not yet')
  for (;;) {
    await clock.advance(ms)
    const turn = new Promise<typeof again>((resolve) => setImmediate(resolve, again))
    const over = await Promise.race([result, turn])
    if (over !== again) return over
  }
}

describe('a mail', () => {
  it('is taken, and the answer says for whom, in the words of the server', async () => {
    const mailServer = await server()
    const result = await send(mailServer)
    expect(result).toMatchObject({ as: 'answered', status: 250 })
    expect(bodyOf(result)).toEqual({
      messageId: '<key_1@example.com>',
      accepted: ['ada@example.com', 'bob@example.com'],
      rejected: [],
      reply: { code: 250, enhanced: '2.0.0', text: 'Ok: queued as 4F00' },
    })
    expect(mailServer.mails).toHaveLength(1)
    expect(mailServer.mails[0]).toContain('\r\n..\r\n')
  })

  it('that one of two recipients does not get is an answer, with the reason', async () => {
    let recipients = 0
    const mailServer = await server({
      RCPT: (socket) => socket.write(++recipients === 1 ? '250 Ok\r\n' : '550 5.1.1 No such user\r\n'),
    })
    const result = await send(mailServer)
    expect(result).toMatchObject({ as: 'answered', status: 250 })
    expect(bodyOf(result)).toMatchObject({
      accepted: ['ada@example.com'],
      rejected: [{ address: 'bob@example.com', code: 550, enhanced: '5.1.1', text: 'No such user' }],
    })
  })

  it.each([
    ['MAIL', '451 4.7.1 Greylisted, try later', 451, 'MAIL FROM'],
    ['RCPT', '550-5.1.1 No\r\n550 5.1.1 such user', 550, 'RCPT TO'],
    ['DATA', '451 4.3.0 Not now', 451, 'DATA'],
    ['DOT', '554 5.7.1 Spam', 554, 'DATA'],
    ['DOT', '421 4.3.2 Closing', 421, 'DATA'],
    ['AUTH', '535 5.7.8 No', 535, 'AUTH PLAIN'],
    ['EHLO', '421 4.3.2 Closing', 421, 'EHLO'],
    ['HELLO', '554 5.7.1 You are on a list', 554, 'CONN'],
  ])('that is refused at %s with "%s" is answered %i', async (command, reply, status, said) => {
    const mailServer = await server({
      EHLO: '250-mail.example\r\n250 AUTH PLAIN',
      [command]: reply,
    })
    const result = await send(mailServer, { login: { username: 'ada', password: 'open sesame' } })
    expect(result).toMatchObject({ as: 'answered', status, headers: { 'smtp-command': said } })
  })

  it('larger than the server takes is refused before it leaves', async () => {
    const mailServer = await server({ EHLO: '250-mail.example\r\n250 SIZE 10' })
    expect(await send(mailServer)).toMatchObject({ as: 'answered', status: 552 })
    expect(mailServer.lines.join()).not.toContain('MAIL')
  })

  it.each([
    ['a word that cannot be folded', { subject: 'w'.repeat(998) }, 'more than 998 characters'],
    ['a header without a space', { headers: { 'X-A': 'v'.repeat(998) } }, 'more than 998 characters'],
    ['a mail within it that is no ASCII', attached('message/rfc822', 'Subject: ü\r\n\r\n.'), 'no ASCII'],
    [
      'a mail within it with a long line',
      attached('message/rfc822', 'y'.repeat(999)),
      'more than 998 characters',
    ],
    ['a part that says it has parts', attached('multipart/mixed', 'x'), 'content type'],
  ])('with %s is refused before it leaves', async (_, over, words) => {
    await expect(composeMail({ ...MAIL, ...over }, { id: 'k', at: 0 })).rejects.toMatchObject({
      code: 'mail_invalid',
      message: expect.stringContaining(words) as string,
    })
  })

  it.each([
    ['long words and other scripts', { text: `${'z'.repeat(5000)} ü\r.\r`, subject: 'ü'.repeat(900) }],
    ['a mail within it', attached('message/rfc822', 'Subject: x\r\n\r\n.\r\n')],
    ['a mail within it as a file', attached('application/octet-stream', `ü${'y'.repeat(2000)}`)],
  ])('with %s has short lines of ASCII, whatever it says', async (_, over) => {
    const { bytes } = await composeMail({ ...MAIL, ...over }, { id: 'k', at: 0 })
    const lines = bytes.toString('latin1').split('\r\n')
    expect(Math.max(...lines.map((line) => line.length))).toBeLessThanOrEqual(998)
    expect(bytes.some((byte) => byte > 0x7f)).toBe(false)
  })

  it('of 3 MB arrives whole', async () => {
    const mailServer = await server({ EHLO: '250-mail.example\r\n250 SIZE 0' })
    const base64 = Buffer.alloc(2_300_000, 'a').toString('base64')
    const attachments = [{ filename: 'a.bin', base64 }]
    const mail = await composeMail({ ...MAIL, attachments }, { id: 'key_1', at: 0 })
    expect(await send(mailServer, { mail })).toMatchObject({ as: 'answered', status: 250 })
    expect(mailServer.mails[0]!.length).toBeGreaterThan(3_000_000)
  })
})

describe('what breaks before the final dot was not sent', () => {
  it.each(['HELLO', 'EHLO', 'AUTH', 'MAIL', 'RCPT', 'DATA'])('at %s', async (command) => {
    const mailServer = await server({ [command]: cut })
    const told: string[] = []
    const result = await send(mailServer, {
      login: { username: 'ada', password: 'open sesame' },
      onSent: () => void told.push('sent'),
    })
    expect(result).toMatchObject({ as: 'not_sent', code: 'mail_not_ended' })
    expect(told).toEqual([])
    expect(mailServer.mails).toEqual([])
  })

  it.each([
    ['HELLO', /greet/],
    ['EHLO', /greet/],
    ['AUTH', /login/],
    ['RCPT', /sender and recipients/],
  ])('after the time for it, at %s', async (command, words) => {
    const clock = createFakeClock()
    const asked = gate()
    const mailServer = await server({ [command]: asked.open })
    const login = { username: 'ada', password: 'open sesame' }
    const sending = send(mailServer, { login }, { clock })
    await asked.passed
    const result = await overTime(sending, clock, 1_000)
    expect(result).toMatchObject({ as: 'not_sent', code: 'mail_not_ended' })
    expect((result as { reason: string }).reason).toMatch(words)
  })

  it('where the server drips its greeting: each letter is no new beginning of the time', async () => {
    const clock = createFakeClock()
    const dripping = gate()
    const mailServer = await server({
      HELLO: (socket) => {
        const drip = (): void => {
          if (!socket.destroyed) socket.write('2', () => setImmediate(drip))
        }
        drip()
        dripping.open()
      },
    })
    const sending = send(mailServer, {}, { clock })
    await dripping.passed
    expect(await overTime(sending, clock, 1_000)).toMatchObject({ as: 'not_sent' })
  })

  it('where a reply never ends', async () => {
    const mailServer = await server({ EHLO: (socket) => socket.write(`250-${'x'.repeat(200_000)}`) })
    expect(await send(mailServer)).toMatchObject({ as: 'not_sent', code: 'mail_not_ended' })
  })

  it('where the right to send it is gone by then: the dot is never written', async () => {
    const mailServer = await server()
    expect(await send(mailServer, { mayLeave: () => false })).toMatchObject({
      as: 'not_sent',
      code: 'withdrawn',
    })
    expect(mailServer.mails).toEqual([])
  })

  it('where its time was over before it began', async () => {
    const clock = createFakeClock()
    const mailServer = await server({
      DATA: (socket) => void clock.advance(0).then(() => socket.write('354 Go on\r\n')),
    })
    const spentMs = 15 * 60_000
    expect(await send(mailServer, { spentMs }, { clock })).toMatchObject({ as: 'not_sent' })
    expect(mailServer.mails).toEqual([])
  })

  it('where the server says yes before it has the whole', async () => {
    const base64 = Buffer.alloc(15_000_000, 'a').toString('base64')
    const mail = await composeMail({ ...MAIL, attachments: [{ filename: 'a', base64 }] }, { id: 'k', at: 0 })
    const mailServer = await server({
      EHLO: '250 mail.example',
      DATA: (socket) => {
        socket.pause()
        socket.write('354 Go on\r\n250 2.0.0 Ok: queued\r\n')
      },
    })
    expect(await send(mailServer, { mail })).toMatchObject({ as: 'not_sent', code: 'mail_not_ended' })
    expect(mailServer.mails).toEqual([])
  })
})

describe('what breaks between the final dot and the reply is unknown', () => {
  it('where the connection is cut', async () => {
    const mailServer = await server({ DOT: cut })
    const told: string[] = []
    const result = await send(mailServer, { onSent: () => void told.push('sent') })
    expect(result).toMatchObject({ as: 'unknown', code: 'reset' })
    expect(told).toEqual(['sent'])
    expect(mailServer.mails).toHaveLength(1)
  })

  it('where the reply is none', async () => {
    for (const reply of ['Thanks!', '999 Thanks', '354 More'])
      expect(await send(await server({ DOT: reply }))).toMatchObject({ as: 'unknown', code: 'truncated' })
  })

  it('where the reply never ends', async () => {
    const mailServer = await server({ DOT: (socket) => socket.write(`250-${'x'.repeat(200_000)}`) })
    expect(await send(mailServer)).toMatchObject({ as: 'unknown', code: 'truncated' })
  })

  it('where none came, after the ten minutes that a server may take (RFC 5321, 4.5.3.2.6), and not before', async () => {
    const clock = createFakeClock()
    const ended = gate()
    const mailServer = await server({ DOT: ended.open })
    const begun = clock.monotonic()
    const sending = send(mailServer, {}, { clock })
    await ended.passed
    const result = await overTime(sending, clock, 1_000)
    expect(result).toMatchObject({ as: 'unknown', code: 'timeout' })
    expect(clock.monotonic() - begun).toBeGreaterThanOrEqual(600_000)
  })
})

describe('the policy of addresses holds for mails', () => {
  it('and a server without TLS needs leave, and a private address', async () => {
    const mailServer = await server()
    const none = { host: '127.0.0.1', port: mailServer.port, security: 'none' } as const
    expect(await send(mailServer, { allowPrivate: false })).toMatchObject({
      as: 'not_sent',
      code: 'egress_denied',
    })
    const toPublic: EgressOptions['resolve'] = (_, done) => done(null, [{ address: '8.8.8.8', family: 4 }])
    const result = await send(
      mailServer,
      { server: { ...none, host: 'mail.example' } },
      { resolve: toPublic },
    )
    expect(result).toMatchObject({ as: 'not_sent', code: 'egress_denied' })
    expect(mailServer.lines).toEqual([])
  })

  it.each(['127.0.0.1', 'localhost', '::1', '2130706433', '0x7f.1', '169.254.169.254', 'loop.example'])(
    'and %s is not reached without leave',
    async (host) => {
      const mailServer = await server()
      const result = await send(
        mailServer,
        { server: { host, port: mailServer.port, security: 'starttls' }, allowPrivate: false },
        { resolve: toThisMachine },
      )
      expect(result).toMatchObject({ as: 'not_sent', code: 'egress_denied' })
      expect(mailServer.lines).toEqual([])
    },
  )
})

describe('without STARTTLS', () => {
  it.each([
    ['not offered', '250 AUTH PLAIN', '502 5.5.1 What?'],
    ['offered and refused', '250-STARTTLS\r\n250 AUTH PLAIN', '454 4.7.0 Not now'],
    ['offered and then not spoken', '250-STARTTLS\r\n250 AUTH PLAIN', '220 Go on\r\n250 I have no idea'],
  ])('%s: neither password nor mail is written', async (_, offer, reply) => {
    const mailServer = await server({
      EHLO: `250-mail.example\r\n${offer}`,
      STARTTLS: (socket) => {
        socket.write(`${reply}\r\n`)
        if (reply.startsWith('220')) socket.end()
      },
    })
    const result = await send(mailServer, {
      server: { host: '127.0.0.1', port: mailServer.port, security: 'starttls' },
      login: { username: 'ada', password: 'open sesame' },
    })
    expect(result).toMatchObject({ as: 'not_sent', code: 'tls_failed' })
    expect(mailServer.lines.filter((line) => /^(AUTH|MAIL)/.test(line))).toEqual([])
    expect(mailServer.lines.join()).not.toContain(Buffer.from('open sesame').toString('base64').slice(0, 8))
  })
})

describe('the greeting alone', () => {
  it('logs in, says good-bye and sends nothing', async () => {
    const mailServer = await server({ EHLO: '250-mail.example\r\n250 AUTH LOGIN PLAIN' })
    const login = { username: 'ada', password: 'open sesame' }
    const result = await send(mailServer, { mail: undefined, login })
    expect(result).toMatchObject({ as: 'answered', status: 235 })
    expect(atPath(bodyOf(result), 'messageId')).toBeNull()
    expect(mailServer.lines.map((line) => line.split(' ')[0])).toEqual(
      expect.arrayContaining(['EHLO', 'AUTH']) as string[],
    )
    expect(mailServer.mails).toEqual([])
  })
})
