import { readFileSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { simpleParser } from 'mailparser'
import { parseJson, systemClock, type Mail } from '../../src/base/index.ts'
import { composeMail, createEgress, type Egress, type EgressResult } from '../../src/egress/index.ts'
import { startExim, whyNoExim, type Exim } from '../../tests/support/exim.ts'

const why = whyNoExim()
const suite = why === undefined ? describe : describe.skip

const CERTIFICATE = readFileSync(
  new URL('../../src/egress/fixtures/localhost-cert.pem', import.meta.url),
  'utf8',
)
const MAIL: Mail = {
  from: 'Shop <shop@example.com>',
  to: ['ada@example.com'],
  subject: 'Grüße',
  text: 'Zeile eins\n.\nZeile zwei',
}

suite(`a real mail server, Exim${why === undefined ? '' : ` (skipped: ${why})`}`, () => {
  let exim: Exim
  let egress: Egress
  beforeAll(async () => {
    exim = await startExim()
    egress = createEgress({
      clock: systemClock,
      ca: CERTIFICATE,
      resolve: (_, done) => done(null, [{ address: '127.0.0.1', family: 4 }]),
    })
  })
  afterAll(async () => {
    await egress.destroy()
    await exim.stop()
  })

  async function send(mail: Mail, id: string, password = exim.login.password): Promise<EgressResult> {
    return egress.mail({
      server: { host: 'good.example', port: exim.port, security: 'starttls' },
      login: { ...exim.login, password },
      mail: await composeMail(mail, { id, at: 1_795_338_000_000 }),
      timeoutMs: 15 * 60_000,
      allowPrivate: true,
    })
  }
  const bodyOf = (result: EgressResult): unknown =>
    result.as === 'answered' ? parseJson(result.body) : undefined

  it('takes a mail by STARTTLS and AUTH, and delivers it as it was written', async () => {
    const result = await send({ ...MAIL, to: ['ada@example.com', 'nobody@example.com'] }, 'key_1')
    expect(result).toMatchObject({ as: 'answered', status: 250 })
    expect(bodyOf(result)).toMatchObject({
      accepted: ['ada@example.com'],
      rejected: [{ address: 'nobody@example.com', code: 550, enhanced: '5.1.1' }],
    })
    const [raw] = await exim.delivered(1)
    const mail = await simpleParser(raw!)
    expect(mail).toMatchObject({ subject: MAIL.subject, messageId: '<key_1@example.com>' })
    expect(mail.text!.trim()).toBe(MAIL.text)
  })

  it('refuses a login, a recipient, for now and for good, and a mail that is too large', async () => {
    expect(await send(MAIL, 'key_2', 'wrong')).toMatchObject({ status: 535 })
    expect(await send({ ...MAIL, to: ['late@example.com'] }, 'key_3')).toMatchObject({ status: 451 })
    expect(await send({ ...MAIL, to: ['nobody@example.com'] }, 'key_4')).toMatchObject({ status: 550 })
    const attachments = [{ filename: 'a', base64: Buffer.alloc(2_000_000, 'a').toString('base64') }]
    expect(await send({ ...MAIL, attachments }, 'key_5')).toMatchObject({ status: 552 })
  })
})
