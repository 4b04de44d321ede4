const ENCODER = new TextEncoder()
/** Messages that may wait for a viewer who reads slowly; beyond, its stream ends and its browser begins anew. */
const WAITING_LIMIT = 100
/** Ticks without a message after which a comment is sent, so that proxies see that the stream lives. */
const TICKS_IN_SILENCE = 30

/** One viewer's server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html). */
export class ViewerStream {
  /** The run whose page this is; `undefined` for the live page. */
  readonly run: string | undefined
  readonly stream: ReadableStream<Uint8Array>
  #controller: ReadableStreamDefaultController<Uint8Array> | undefined
  readonly #onEnd: (() => void)[]
  #ended = false
  #held: Uint8Array[] | undefined
  #silence = 0

  constructor(run: string | undefined, onEnd: () => void) {
    this.run = run
    this.#onEnd = [onEnd]
    this.stream = new ReadableStream<Uint8Array>(
      {
        start: (controller) => {
          this.#controller = controller
          // How soon the browser comes again after the stream has ended.
          controller.enqueue(ENCODER.encode('retry: 2000\n\n'))
        },
        cancel: () => this.#finish(),
      },
      { highWaterMark: WAITING_LIMIT },
    )
  }

  onEnd(told: () => void): void {
    this.#onEnd.push(told)
  }

  /** Keeps messages back until {@link release}, but for those that go ahead. */
  hold(): void {
    this.#held = []
  }

  release(): void {
    const held = this.#held ?? []
    this.#held = undefined
    for (const message of held) this.#enqueue(message)
  }

  /** `ahead`: before what is held back. */
  send(event: string, data: unknown, ahead = false): void {
    const message = ENCODER.encode(`event: ${event}\ndata: ${JSON.stringify(data)}\n\n`)
    if (this.#held && !ahead) this.#held.push(message)
    else this.#enqueue(message)
  }

  keepAlive(): void {
    if (++this.#silence > TICKS_IN_SILENCE) this.#enqueue(ENCODER.encode(': still here\n\n'))
  }

  end(): void {
    if (this.#ended) return
    this.#finish()
    this.#controller?.close()
  }

  #enqueue(message: Uint8Array): void {
    if (this.#ended) return
    if ((this.#controller?.desiredSize ?? 0) <= 0) return this.end()
    this.#silence = 0
    this.#controller?.enqueue(message)
  }

  #finish(): void {
    if (this.#ended) return
    this.#ended = true
    for (const told of this.#onEnd) told()
  }
}
