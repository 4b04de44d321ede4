import { createServer, type IncomingMessage, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { MINUTE, reasonOf } from '../../base/index.ts'
import type { Egress } from '../../egress/index.ts'

/** One webhook that a twin sent. */
export interface Mail {
  readonly number: number
  /** What made it happen, where something of the script did: its name. */
  readonly happening: string | undefined
  /** Path and query, as the provider was given them. */
  readonly target: string
  readonly headers: Readonly<Record<string, string>>
  readonly body: Buffer
  /** How often it was handed to the platform, and what the platform answered each time. */
  readonly answers: (number | string)[]
}

/** What becomes of mail on its way. */
export interface Postage {
  /** How many times each is delivered. Default 1. */
  readonly copies?: number
  /** Kept until {@link PostOffice.release}. Default false. */
  readonly held?: boolean
  /** What is delivered in place of it; `undefined`: itself. */
  readonly alter?: (mail: Mail) => Pick<Mail, 'headers' | 'body'> | undefined
}

const HOP_HEADERS = new Set(['connection', 'content-length', 'host', 'keep-alive', 'transfer-encoding'])

/**
 * Stands between the twins and the platform, at the address that the platform is reached at: it knows every webhook
 * by what caused it, and delivers it once, several times, or later and in another order.
 */
export class PostOffice {
  readonly #egress: Egress
  readonly #target: () => string
  readonly #server: Server
  readonly #mail: Mail[] = []
  #held: Mail[] = []
  #postage: Postage = {}
  #happening: string | undefined
  #inFlight = 0

  /** `target`: the URL of the node that takes mail now. */
  constructor(egress: Egress, target: () => string) {
    this.#egress = egress
    this.#target = target
    this.#server = createServer((request, response) => {
      this.#inFlight++
      void this.#take(request)
        .then((mail) => {
          response.writeHead(200).end()
          return this.#postage.held ? void this.#held.push(mail) : this.#deliver(mail)
        })
        .finally(() => this.#inFlight--)
    })
  }

  async open(): Promise<string> {
    await new Promise<void>((resolve) => {
      this.#server.listen(0, '127.0.0.1', resolve)
    })
    return this.url
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`
  }

  get inFlight(): number {
    return this.#inFlight
  }

  mail(): readonly Mail[] {
    return this.#mail
  }

  use(postage: Postage): void {
    this.#postage = postage
  }

  /** Mail that comes in from now on was caused by this. */
  label(happening: string | undefined): void {
    this.#happening = happening
  }

  /** Delivers what is held, the last first. */
  async release(): Promise<void> {
    const held = this.#held.reverse()
    this.#held = []
    this.#postage = {}
    for (const mail of held) await this.#deliver(mail)
  }

  /** Takes something that no twin sent, and delivers it as the rest. */
  async send(mail: Pick<Mail, 'happening' | 'target' | 'headers' | 'body'>): Promise<void> {
    const kept = this.#keep(mail)
    if (this.#postage.held) this.#held.push(kept)
    else await this.#deliver(kept)
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections()
    await new Promise<void>((resolve) => {
      this.#server.close(() => resolve())
    })
  }

  async #take(request: IncomingMessage): Promise<Mail> {
    const happening = this.#happening
    const chunks: Buffer[] = []
    for await (const chunk of request) chunks.push(chunk as Buffer)
    const headers: Record<string, string> = {}
    for (const [name, value] of Object.entries(request.headers))
      if (!HOP_HEADERS.has(name) && value !== undefined) headers[name] = String(value)
    return this.#keep({ happening, target: request.url ?? '/', headers, body: Buffer.concat(chunks) })
  }

  #keep(mail: Pick<Mail, 'happening' | 'target' | 'headers' | 'body'>): Mail {
    const kept: Mail = { ...mail, number: this.#mail.length + 1, answers: [] }
    this.#mail.push(kept)
    return kept
  }

  async #deliver(mail: Mail): Promise<void> {
    const { copies = 1, alter } = this.#postage
    const { headers, body } = alter?.(mail) ?? mail
    for (let i = 0; i < copies; i++) {
      const result = await this.#egress
        .send({
          method: 'POST',
          url: this.#target() + mail.target,
          headers,
          body,
          timeoutMs: MINUTE,
          allowPrivate: true,
        })
        .catch((error: unknown) => ({ as: 'not_sent' as const, code: reasonOf(error) }))
      mail.answers.push(result.as === 'answered' ? result.status : result.code)
    }
  }
}
