/**
 * The sender: unique webhooks, signed before the clock starts, over keep-alive connections. Closed: each connection
 * sends the next when the last is answered. At a rate: sent by the clock, and timed from when they were due, so that
 * a server that stalls cannot hide it.
 */
import { createHmac } from 'node:crypto'
import { connect, type Socket } from 'node:net'
import { argument, serveParent } from './child.ts'
import { latencyOf, round } from './histogram.ts'

export interface Load {
  readonly url: string
  readonly path: string
  readonly secret: string
  readonly type: string
  readonly connections: number
  readonly seconds: number
  /** Webhooks per second; left out: as fast as they are answered. */
  readonly rate?: number
  /** Prepared webhooks per second of a closed run. Default 12,000. */
  readonly prepare?: number
}

argument()
serveParent(
  {},
  (question) => run(question as unknown as Load),
  () => Promise.resolve(),
)

const FILLER = 'x'.repeat(800)
let serial = 0

/** A request's bytes. `sentAt` is when it is due, which the provider measures the last effect from. */
function request(load: Load, host: string, sentAt: number): Buffer {
  const id = `evt_${process.pid}_${++serial}`
  const body = Buffer.from(
    `{"id":"${id}","type":"${load.type}","data":{"amount":1200,"currency":"usd","customer":"c${serial}@example.com","sentAt":${Math.round(sentAt)},"meta":"${FILLER}"}}`,
  )
  const signature = createHmac('sha256', load.secret).update(body).digest('hex')
  const head = `POST ${load.path} HTTP/1.1\r\nhost: ${host}\r\ncontent-type: application/json\r\nx-acme-signature: ${signature}\r\ncontent-length: ${body.length}\r\n\r\n`
  return Buffer.concat([Buffer.from(head), body])
}

async function run(load: Load): Promise<unknown> {
  const { hostname, port } = new URL(load.url)
  const count = Math.ceil((load.rate ?? load.prepare ?? 12_000) * load.seconds)
  // Preparing takes some 10 µs a request; the schedule begins when that is done.
  const start = performance.timeOrigin + performance.now() + 100 + count * 0.03
  const due = (index: number): number =>
    load.rate === undefined ? start : start + (index / load.rate) * 1000
  const requests = Array.from({ length: count }, (_, index) =>
    request(load, `${hostname}:${port}`, due(index)),
  )
  const samples: number[] = []
  let failed = 0
  let next = 0
  const begun = performance.now()
  const until = begun + load.seconds * 1000
  const offset = performance.timeOrigin

  const sender = async (): Promise<void> => {
    const line = await Line.open(hostname, Number(port))
    for (;;) {
      const index = next++
      if (index >= count || (load.rate === undefined && performance.now() > until)) break
      let from = performance.now()
      if (load.rate !== undefined) {
        from = due(index) - offset
        const wait = from - performance.now()
        if (wait > 0) await new Promise((resolve) => setTimeout(resolve, wait))
      }
      const status = await line.send(requests[index]!)
      if (status >= 200 && status < 300) samples.push(performance.now() - from)
      else failed++
    }
    line.close()
  }
  await Promise.all(Array.from({ length: load.connections }, sender))
  const seconds = (performance.now() - begun) / 1000
  return {
    accepted: samples.length,
    failed,
    seconds: round(seconds),
    perSecond: round(samples.length / seconds, 0),
    latency: latencyOf(samples),
  }
}

/** One keep-alive connection that carries one request at a time. */
class Line {
  readonly #socket: Socket
  #answered: (status: number) => void = () => {}
  #buffer = ''

  private constructor(socket: Socket) {
    this.#socket = socket
    socket.setNoDelay(true)
    socket.on('data', (chunk) => this.#read(chunk.toString('latin1')))
    socket.on('error', () => this.#answered(0))
    socket.on('close', () => this.#answered(0))
  }

  static open(host: string, port: number): Promise<Line> {
    return new Promise((resolve, reject) => {
      const socket = connect(port, host)
      socket.once('error', reject)
      socket.once('connect', () => {
        socket.off('error', reject)
        resolve(new Line(socket))
      })
    })
  }

  send(request: Buffer): Promise<number> {
    return new Promise((resolve) => {
      this.#answered = resolve
      if (this.#socket.destroyed) resolve(0)
      else this.#socket.write(request)
    })
  }

  #read(text: string): void {
    this.#buffer += text
    const end = this.#buffer.indexOf('\r\n\r\n')
    if (end === -1) return
    const length = Number(/content-length: (\d+)/i.exec(this.#buffer)?.[1] ?? 0)
    const chunked = /transfer-encoding: chunked/i.test(this.#buffer)
    if (chunked ? !this.#buffer.endsWith('0\r\n\r\n') : this.#buffer.length < end + 4 + length) return
    const status = Number(this.#buffer.slice(9, 12))
    this.#buffer = ''
    this.#answered(status)
  }

  close(): void {
    this.#socket.destroy()
  }
}
