import { describe, expect, it } from 'vitest'
import { checkAlerts, RECIPIENTS_LIMIT, type AlertsDefinition } from './alerts.ts'

const email: NonNullable<AlertsDefinition['email']> = {
  to: 'ops@example.com',
  from: 'Trestle <trestle@example.com>',
  smtp: { host: 'smtp.example.com' },
}
const webhook: NonNullable<AlertsDefinition['webhook']> = {
  url: 'https://app.example.com/alerts',
  secret: { env: 'ALERTS_SECRET' },
}
const many = (count: number) => Array.from({ length: count }, (_, i) => `ops${i}@example.com`)

describe('the declaration of alerts', () => {
  it.each<AlertsDefinition>([
    {},
    { email, webhook },
    { email: { ...email, to: many(RECIPIENTS_LIMIT), from: 'trestle@example.com' } },
  ])('is taken: %j', (alerts) => {
    expect(() => checkAlerts(alerts)).not.toThrow()
  })

  it.each<[string, AlertsDefinition]>([
    ['email.to has 0 addresses; give 1 to 50.', { email: { ...email, to: [] } }],
    ['email.to has 51 addresses; give 1 to 50.', { email: { ...email, to: many(RECIPIENTS_LIMIT + 1) } }],
    ['email.to has "a@b, c@d", which is no address.', { email: { ...email, to: 'a@b, c@d' } }],
    [
      'email.from is "x@example.com\r\nBcc: y@example.com"',
      { email: { ...email, from: 'x@example.com\r\nBcc: y@example.com' } },
    ],
    ['a password and no user', { email: { ...email, smtp: { ...email.smtp, password: 'pw' } } }],
    ['webhook.url is "app.example.com"', { webhook: { ...webhook, url: 'app.example.com' } }],
  ])('is refused: %s', (words, alerts) => {
    expect(() => checkAlerts(alerts)).toThrow(words)
  })
})
