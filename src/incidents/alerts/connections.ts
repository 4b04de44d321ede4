import { z } from 'zod'
import { MINUTE, type MailServer } from '../../base/index.ts'
import {
  ALERT_CONNECTIONS,
  defineConnector,
  defineMailOperation,
  defineOperation,
  type AlertsDefinition,
  type ConnectionDefinition,
  type EmailAlerts,
  type WebhookAlerts,
} from '../../define/index.ts'

const SMTPS_PORT = 465
const SUBMISSION_PORT = 587

/**
 * The connections that alerts go over, so that their secrets are sealed, rotated, listed and checked like all others.
 * Alerts by e-mail without a login have no secret, and so no connection.
 */
export function alertConnections(
  alerts: AlertsDefinition | undefined,
): Readonly<Record<string, ConnectionDefinition>> {
  return {
    ...(alerts?.email &&
      hasLogin(alerts.email) && { [ALERT_CONNECTIONS.email]: mailConnection(alerts.email) }),
    ...(alerts?.webhook && { [ALERT_CONNECTIONS.webhook]: webhookConnection(alerts.webhook) }),
  }
}

export function hasLogin({ smtp }: EmailAlerts): boolean {
  return smtp.user !== undefined
}

/** Where mails go, and how they are protected on the way. */
export function mailServerOfAlerts({ smtp }: EmailAlerts): MailServer {
  const tls = smtp.tls ?? smtp.port === SMTPS_PORT
  return {
    host: smtp.host,
    port: smtp.port ?? (tls === true ? SMTPS_PORT : SUBMISSION_PORT),
    security: tls === 'none' ? 'none' : tls ? 'tls' : 'starttls',
  }
}

/** Checked by a login alone, so that a password that has ended is known before there is something to tell. */
function mailConnection(email: EmailAlerts): ConnectionDefinition {
  const { user, password, allowPrivateNetwork = false } = email.smtp
  const connector = defineConnector({
    name: ALERT_CONNECTIONS.email,
    title: 'Alerts by e-mail',
    baseUrl: 'smtps://smtp.example.com:465',
    auth: { kind: 'smtp_login' },
    operations: {
      login: defineMailOperation({
        summary: 'connect, log in and say good-bye',
        effect: 'read',
        input: z.object({}),
        output: z.unknown(),
        idempotency: { kind: 'natural' },
        mail: () => 'greeting',
        timeoutMs: MINUTE,
      }),
    },
    events: {},
    limits: [],
    check: { operation: 'login', input: {} },
  })
  return connector.connect({
    baseUrl: urlOf(mailServerOfAlerts(email)),
    allowPrivateNetwork,
    secrets: { username: user, ...(password !== undefined && { password }) },
  })
}

function urlOf({ host, port, security }: MailServer): string {
  const name = host.includes(':') ? `[${host}]` : host
  return `${security === 'tls' ? 'smtps' : 'smtp'}://${name}:${port}${security === 'none' ? '?tls=none' : ''}`
}

/** Its check is a signed POST that whoever is told can see: made when a person asks for it, and not by itself. */
function webhookConnection({
  url,
  secret,
  allowPrivateNetwork = false,
}: WebhookAlerts): ConnectionDefinition {
  const { origin, pathname, search } = new URL(url)
  const connector = defineConnector({
    name: ALERT_CONNECTIONS.webhook,
    title: 'Alerts by webhook',
    baseUrl: 'https://alerts.example.com',
    auth: { kind: 'standard_webhooks' },
    operations: {
      test: defineOperation({
        summary: 'send a test that is signed as alerts are',
        input: z.object({}),
        output: z.unknown(),
        idempotency: { kind: 'none' },
        request: (_, { begunAt }) => ({
          method: 'POST',
          path: `${pathname}${search}`,
          body: { json: { type: 'alert.test', timestamp: new Date(begunAt).toISOString(), data: {} } },
        }),
      }),
    },
    events: {},
    limits: [],
    check: { operation: 'test', input: {} },
  })
  return connector.connect({
    baseUrl: origin,
    allowPrivateNetwork,
    ...(secret !== undefined && { secrets: { signingSecret: secret } }),
  })
}
