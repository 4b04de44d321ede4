/**
 * A twin of a mail server: a real one, smtp-server, on 127.0.0.1, that takes every mail and passes none on.
 *
 * It is no kinder than one: it takes the same mail as often as it comes, whatever its Message-ID.
 */
import type { AddressInfo, Socket } from 'node:net'
import { SMTPServer, type SMTPServerSession } from 'smtp-server'
import { systemClock, type Clock } from 'trestle/testing'

export interface SmtpTwinOptions {
  readonly clock?: Clock
  /** Without it everybody may send. Default: `trestle` and `smtp-password`. */
  readonly login?: { readonly username: string; readonly password: string } | undefined
  /** How it is reached. Default `'none'`; the others need `tls`. */
  readonly security?: 'tls' | 'starttls' | 'none'
  readonly tls?: { readonly key: string; readonly cert: string }
}

/** A mail that the twin took. */
export interface TakenMail {
  readonly number: number
  /** Milliseconds since 1970. */
  readonly at: number
  /** The envelope. */
  readonly from: string
  readonly to: readonly string[]
  readonly messageId: string | undefined
  /** RFC 5322, as it came. */
  readonly raw: string
}

/** What goes wrong with one mail. `command`: that is answered with the reply. */
export type SmtpFault =
  | {
      readonly kind: 'reply'
      readonly command: 'AUTH' | 'MAIL' | 'RCPT' | 'DATA'
      /** With its enhanced status: `450`, `'4.2.0 Greylisted'`. */
      readonly code: number
      readonly text: string
      /** Of `RCPT`: the recipient that it is said of. Default: all. */
      readonly to?: string
    }
  /** The connection is cut when the text has come, and the mail is not taken, or taken all the same. */
  | { readonly kind: 'cut'; readonly taken: boolean }

export interface SmtpTwin {
  /** For `baseUrl`. Throws before `start`. */
  readonly url: string
  readonly login: { readonly username: string; readonly password: string } | undefined
  start(port?: number): Promise<string>
  stop(): Promise<void>
  mails(): readonly TakenMail[]
  /** The next `times` commands that the fault concerns are met by it. */
  arm(times: number, fault: SmtpFault): void
}

/** Makes a twin of a mail server. It does nothing before `start`. */
export function createSmtpTwin(options: SmtpTwinOptions = {}): SmtpTwin {
  const { clock = systemClock, security = 'none' } = options
  const login = 'login' in options ? options.login : { username: 'trestle', password: 'smtp-password' }
  const mails: TakenMail[] = []
  const sockets = new Map<number, Socket>()
  let armed: { fault: SmtpFault; times: number }[] = []

  /** The first armed fault that concerns this, used up by asking. */
  function met(concerns: (fault: SmtpFault) => boolean): SmtpFault | undefined {
    const hit = armed.find(({ fault }) => concerns(fault))
    if (hit) hit.times--
    armed = armed.filter(({ times }) => times > 0)
    return hit?.fault
  }
  function refusal(command: string, to?: string): Error | undefined {
    const fault = met(
      (one) => one.kind === 'reply' && one.command === command && (one.to === undefined || one.to === to),
    )
    return fault?.kind === 'reply' ? replied(fault.code, fault.text) : undefined
  }

  const server = new SMTPServer({
    logger: false,
    secure: security === 'tls',
    ...options.tls,
    authOptional: login === undefined,
    allowInsecureAuth: security === 'none',
    disabledCommands: [
      ...(security === 'starttls' ? [] : ['STARTTLS']),
      ...(login === undefined ? ['AUTH'] : []),
    ],
    onAuth({ username, password }, _session, done) {
      const refused = refusal('AUTH')
      if (refused) return done(refused)
      return username === login?.username && password === login?.password
        ? done(null, { user: username })
        : done(replied(535, '5.7.8 Wrong name or password'))
    },
    onMailFrom: (_address, _session, done) => done(refusal('MAIL')),
    onRcptTo: ({ address }, _session, done) => done(refusal('RCPT', address)),
    onData(stream, session, done) {
      const parts: Buffer[] = []
      stream.on('data', (part: Buffer) => parts.push(part))
      stream.on('end', () => {
        const fault = met((one) => one.kind === 'cut')
        const refused = fault === undefined ? refusal('DATA') : undefined
        if (refused) return done(refused)
        if (fault?.kind !== 'cut' || fault.taken) take(session, Buffer.concat(parts).toString('utf8'))
        if (fault === undefined) return done(null, `2.0.0 Taken as ${mails.length}`)
        return sockets.get(session.remotePort)?.destroy()
      })
    },
  })
  server.on('error', () => undefined)
  server.server.on('connection', (socket: Socket) => {
    const { remotePort = 0 } = socket
    sockets.set(remotePort, socket)
    socket.once('close', () => sockets.delete(remotePort))
  })

  function take({ envelope }: SMTPServerSession, raw: string): void {
    mails.push({
      number: mails.length + 1,
      at: clock.now(),
      from: envelope.mailFrom === false ? '' : envelope.mailFrom.address,
      to: envelope.rcptTo.map(({ address }) => address),
      messageId: /^message-id:\s*(<[^>]+>)/im.exec(raw)?.[1],
      raw,
    })
  }

  return {
    login,
    get url() {
      const address = server.server.address() as AddressInfo | null
      if (address === null) throw new Error('The twin of a mail server has no address before start().')
      return security === 'tls'
        ? `smtps://127.0.0.1:${address.port}`
        : `smtp://127.0.0.1:${address.port}${security === 'none' ? '?tls=none' : ''}`
    },
    async start(port = 0) {
      await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve))
      return this.url
    },
    async stop() {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()))
      for (const socket of sockets.values()) socket.destroy()
      await closed
    },
    mails: () => mails,
    arm: (times, fault) => void armed.push({ fault, times }),
  }
}

function replied(code: number, text: string): Error {
  return Object.assign(new Error(text), { responseCode: code })
}
