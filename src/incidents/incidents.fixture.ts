import type { AddressInfo } from 'node:net'
import { simpleParser, type ParsedMail } from 'mailparser'
import { SMTPServer, type SMTPServerOptions } from 'smtp-server'
import { Webhook } from 'standardwebhooks'
import { ALERT_CONNECTIONS, type AlertsDefinition, type Secret } from '../define/index.ts'
import type { StandingAuthorizer } from '../vault/index.ts'

/** A real mail server on a port of its own, which keeps what it takes. */
export interface MailServer {
  readonly port: number
  readonly mails: readonly ParsedMail[]
  /** Resolves when so many mails were taken. */
  taken(count: number): Promise<readonly ParsedMail[]>
  close(): Promise<void>
}

export async function openMailServer(
  options: SMTPServerOptions & { port?: number } = {},
): Promise<MailServer> {
  const { port = 0, ...rest } = options
  const mails: ParsedMail[] = []
  let waiting: { count: number; resolve: (mails: readonly ParsedMail[]) => void }[] = []
  const server = new SMTPServer({
    authOptional: true,
    disabledCommands: ['STARTTLS'],
    logger: false,
    onData(stream, _session, done) {
      simpleParser(stream).then((mail) => {
        done()
        mails.push(mail)
        for (const one of waiting.filter(({ count }) => mails.length >= count)) one.resolve(mails)
        waiting = waiting.filter(({ count }) => mails.length < count)
      }, done)
    },
    ...rest,
  })
  server.on('error', () => {})
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(port, '127.0.0.1', resolve)
  })
  return {
    port: (server.server.address() as AddressInfo).port,
    mails,
    taken: (count) =>
      mails.length >= count
        ? Promise.resolve(mails)
        : new Promise((resolve) => waiting.push({ count, resolve })),
    close: () => new Promise((resolve) => server.close(() => resolve())),
  }
}

/** Authorizes with these secrets as they stand, in place of a vault: for what is told here, not how it is sealed. */
export function openly({
  email,
  webhook,
}: AlertsDefinition): (connection: string) => Promise<StandingAuthorizer> {
  return (name) =>
    Promise.resolve({
      id: `con_${name}`,
      authorize: (request, { idempotencyKey, now }) =>
        Promise.resolve({
          ...request,
          secretHeaders: [],
          credentialVersion: 'as declared',
          ...(name === ALERT_CONNECTIONS.email
            ? { login: { username: textOf(email?.smtp.user), password: textOf(email?.smtp.password) } }
            : {
                headers: {
                  ...request.headers,
                  'webhook-id': idempotencyKey,
                  'webhook-timestamp': String(Math.floor(now / 1000)),
                  'webhook-signature': new Webhook(textOf(webhook?.secret)).sign(
                    idempotencyKey,
                    new Date(now),
                    request.body!.toString(),
                  ),
                },
              }),
        }),
      refused: () => Promise.resolve(false),
    })
}

function textOf(secret: Secret | undefined): string {
  if (typeof secret !== 'string') throw new Error('Give the secret itself.')
  return secret
}
