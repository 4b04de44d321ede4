import { describe, expect, it } from 'vitest'
import type { EmailAlerts } from '../../define/index.ts'
import { publicUrlFinding } from './connections.ts'
import { encryptionFindings, mailFindings } from './encryption.ts'

describe('the doctor, of addresses that are asked', () => {
  it('warns of a mail server without TLS, and not of one with it', () => {
    const finding = (url: string) => encryptionFindings([{ what: 'Connection mail', url }])[0]
    expect(finding('smtp://10.0.0.7:25?tls=none')).toMatchObject({
      level: 'warn',
      found: expect.stringContaining('10.0.0.7:25') as string,
    })
    expect(finding('smtp://127.0.0.1:25?tls=none')!.level).toBe('ok')
    for (const url of ['smtp://mail.example.com', 'smtps://mail.example.com'])
      expect(finding(url)!.what).toBe('Encryption')
  })

  it('is content where all of them are https', () => {
    const addresses = [
      { what: 'Connection books', url: 'https://books.example' },
      { what: 'Connection alerts-webhook', url: 'https://pager.example/hook' },
    ]
    expect(encryptionFindings(addresses)).toEqual([
      { level: 'ok', what: 'Encryption', found: 'everything goes out by https' },
    ])
  })

  it('warns of each that is http, without its path and whoever is named in it, and says what to do', () => {
    const addresses = [
      { what: 'Connection books', url: 'https://books.example' },
      { what: 'Connection crm', url: 'http://user:hunter2@10.0.0.7:8080/v1?key=hunter2' },
      { what: 'Connection x, tokens', url: 'http://[fd00::1]/token' },
      { what: 'Connection y', url: 'http://localhost.example.com' },
    ]
    const findings = encryptionFindings(addresses)
    expect(findings).toMatchObject([
      {
        level: 'warn',
        what: 'Connection crm',
        found: expect.stringMatching(/^http:\/\/10\.0\.0\.7:8080 is asked by http: /) as string,
        todo: expect.stringContaining('https://') as string,
      },
      { level: 'warn', what: 'Connection x, tokens' },
      { level: 'warn', what: 'Connection y' },
    ])
    expect(JSON.stringify(findings)).not.toContain('hunter2')
  })

  it.each(['http://localhost:4010', 'http://127.0.0.1:1', 'http://127.8.0.1', 'http://[::1]:80'])(
    'minds %s not: that is this machine',
    (url) => {
      expect(encryptionFindings([{ what: 'Connection twin', url }])).toMatchObject([{ level: 'ok' }])
    },
  )
})

it.each([
  ['https://hooks.example.com', 'ok'],
  ['http://localhost:3000', 'ok'],
  ['http://127.0.0.1', 'ok'],
  ['http://localhost.example.com', 'warn'],
  ['http://127.example.com', 'warn'],
  ['http://hooks.example.com', 'warn'],
])('the doctor, of the public address %s: %s', (url, level) => {
  expect(publicUrlFinding(url, [])).toMatchObject({ level })
})

const mail = (smtp: EmailAlerts['smtp']): EmailAlerts => ({
  to: 'a@example.com',
  from: 'b@example.com',
  smtp,
})

it('the doctor warns of mail that goes unencrypted, and only of that', () => {
  const inHouse = { host: '10.0.0.25', allowPrivateNetwork: true }
  expect(mailFindings(mail({ ...inHouse, tls: 'none' }))).toMatchObject([
    { level: 'warn', what: 'Alerts by e-mail' },
  ])
  for (const smtp of [inHouse, { ...inHouse, tls: true }, { ...inHouse, host: '127.0.0.1', tls: 'none' }])
    expect(mailFindings(mail(smtp as EmailAlerts['smtp']))).toEqual([])
  expect(mailFindings(undefined)).toEqual([])
})
