import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Clock } from '../base/index.ts'
import type { Endpoint, Rejection } from './endpoint.ts'
import { withoutCredentials } from './read-delivery.ts'
import { overloaded, pairsOf, refusal, type Refusal } from './receive.ts'
import type { Place, Room, RoomLimits } from './room.ts'

/** Limits of one answer. */
export interface AnswerLimits extends RoomLimits {
  /** From the last byte of the body to an answer, at most. Default 500 ms; the tightest sender known gives 1.25 s. */
  readonly ackTimeoutMs: number
  /** `Retry-After` of a 503. Default 5 s. */
  readonly retryAfterSeconds: number
}

export const ANSWER_LIMITS: AnswerLimits = {
  ackTimeoutMs: 500,
  retryAfterSeconds: 5,
  maxUnverifiedBytes: 64 * 1024 * 1024,
  maxHeldBytes: 128 * 1024 * 1024,
}

export interface ExchangeSettings extends AnswerLimits {
  readonly clock: Clock
  /** Told of every request that got no 200, after it was answered. It must not throw. */
  readonly reject: (rejection: Rejection) => void
}

export const EMPTY_ANSWER = { 'content-length': '0' }
/** How long a sender may go on sending a body that was refused, before the connection is cut. */
const LINGER_MS = 1000
const NO_BODY = Buffer.alloc(0)

/** One request and its one answer, which may be given by the flow or by the deadline, whichever comes first. */
export class Exchange {
  #settings: ExchangeSettings
  readonly request: IncomingMessage
  readonly response: ServerResponse
  endpoint: Endpoint | undefined
  answered = false
  #room: Room
  #place: Place | undefined
  #cancelDeadline: (() => void) | undefined

  constructor(settings: ExchangeSettings, room: Room, request: IncomingMessage, response: ServerResponse) {
    this.#settings = settings
    this.#room = room
    this.request = request
    this.response = response
  }

  /** From now on `ackTimeoutMs` are left; then the answer is 503, and what came of it is not known. */
  startDeadline(code: string): void {
    this.stopDeadline()
    this.#cancelDeadline = this.#settings.clock.after(this.#settings.ackTimeoutMs, () =>
      this.refuse(
        refusal(
          503,
          code,
          `No answer was known after ${this.#settings.ackTimeoutMs} ms: the database or the vault does not answer.`,
        ),
      ),
    )
  }

  stopDeadline(): void {
    this.#cancelDeadline?.()
    this.#cancelDeadline = undefined
  }

  answer(status: number, headers: Readonly<Record<string, string>>, text?: string): void {
    if (this.answered) return
    this.answered = true
    this.stopDeadline()
    this.response.writeHead(status, headers)
    this.response.end(text)
  }

  refuse(refused: Refusal): void {
    if (this.answered) return
    const { status, code, reason, cause } = refused
    if (status === undefined) this.answered = true
    else this.#answerRefusal(status, refused)
    this.stopDeadline()
    this.#settings.reject({
      ...(this.endpoint === undefined ? {} : { endpoint: this.endpoint }),
      ...(status === undefined ? {} : { status }),
      code,
      reason,
      headers: withoutCredentials(pairsOf(this.request.rawHeaders)),
      body: status === 503 ? NO_BODY : (refused.body ?? NO_BODY),
      receivedAt: this.#settings.clock.now(),
      cause,
    })
  }

  /** 401 and 503 say nothing: whoever forges learns nothing, and Xero demands an empty body. */
  #answerRefusal(status: number, { reason, answer }: Refusal): void {
    if (status === 401) this.answer(status, EMPTY_ANSWER)
    else if (status === 503)
      this.answer(status, { ...EMPTY_ANSWER, 'retry-after': String(this.#settings.retryAfterSeconds) })
    else {
      const text = `${reason}\n`
      this.answer(
        status,
        {
          'content-type': 'text/plain; charset=utf-8',
          'content-length': String(Buffer.byteLength(text)),
          ...answer,
        },
        text,
      )
    }
    this.#discardRest()
  }

  /** Lets the sender finish reading our answer: closing at once would reset the connection under it. */
  #discardRest(): void {
    const { request } = this
    if (request.complete) return
    request.on('error', () => undefined).resume()
    const cancel = this.#settings.clock.after(LINGER_MS, () => {
      if (!request.complete) request.socket.destroy()
    })
    request.once('close', cancel)
  }

  /** Holds room for what comes. `false` where it must give way to others at once. */
  enterRoom(endpoint: string): boolean {
    this.#place = this.#room.enter({ address: () => this.request.socket.remoteAddress, endpoint })
    return this.#place.stands
  }

  take(bytes: number): boolean {
    return this.#place?.take(bytes) === true
  }

  whenYielded(giveWay: (refused: Refusal) => void): void {
    if (this.#place) this.#place.whenYielded = () => giveWay(overloaded())
  }

  /** Its signature is good. `false` where there is no room for what is signed either. */
  vouch(): boolean {
    return this.#place?.verify() === true
  }

  release(): void {
    this.#place?.leave()
  }
}
