import { createServer, type AddressInfo, type Socket } from 'node:net'

/** A mail server below SMTP, so that a test decides about every reply and every close. */
export interface ScriptedServer {
  readonly port: number
  /** Lines that came, mail text included, over all connections. */
  readonly lines: readonly string[]
  /** Whole mails that came, up to the final dot. */
  readonly mails: readonly string[]
  close(): Promise<void>
}

/** What the server says, by the first word of the command; `DOT` is the mail's end. A function may do anything. */
export type SmtpScript = Readonly<Record<string, string | ((socket: Socket) => void)>>

export const POLITE: SmtpScript = {
  HELLO: '220 mail.example ESMTP',
  EHLO: '250-mail.example\r\n250 SIZE 100000',
  MAIL: '250 2.1.0 Ok',
  RCPT: '250 2.1.5 Ok',
  DATA: '354 Go on',
  DOT: '250 2.0.0 Ok: queued as 4F00',
  QUIT: '221 2.0.0 Bye',
  AUTH: '235 2.7.0 Welcome',
}

export async function openScripted(over: SmtpScript = {}): Promise<ScriptedServer> {
  const script = { ...POLITE, ...over }
  const lines: string[] = []
  const mails: string[] = []
  const sockets = new Set<Socket>()
  const server = createServer((socket) => {
    sockets.add(socket)
    socket.on('error', () => undefined)
    socket.on('close', () => sockets.delete(socket))
    let text = ''
    let mail: string[] | undefined
    const say = (what: string): void => {
      const reply = script[what]
      if (reply === undefined) socket.write('502 5.5.1 Not here\r\n')
      else if (typeof reply === 'string') socket.write(`${reply}\r\n`)
      else reply(socket)
      if (what === 'DATA') mail = []
    }
    socket.on('data', (chunk) => {
      text += chunk.toString('latin1')
      for (let end = text.indexOf('\r\n'); end >= 0; end = text.indexOf('\r\n')) {
        const line = text.slice(0, end)
        text = text.slice(end + 2)
        lines.push(line)
        if (mail === undefined) say(line.split(' ')[0]!.toUpperCase())
        else if (line !== '.') mail.push(line)
        else {
          mails.push(mail.join('\r\n'))
          mail = undefined
          say('DOT')
        }
      }
    })
    say('HELLO')
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    port: (server.address() as AddressInfo).port,
    lines,
    mails,
    async close() {
      for (const socket of sockets) socket.destroy()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

export const cut = (socket: Socket): void => void socket.destroy()
