import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net'
import { Frames, type Frame } from './frames.ts'

/** One connection of the node: its own side, and the server's. */
interface Pair {
  readonly near: Socket
  readonly far: Socket
  /** Questions whose last answer has not come: the server says ReadyForQuery after each. */
  pending: number
  /** It listens on this channel. */
  channel: string | undefined
}

/** What marks begin with: no notification of the platform's own does. */
export const MARK = 'mark of the proof '

const QUERY = 'Q'
const SYNC = 'S'
const READY_FOR_QUERY = 'Z'
const NOTIFICATION = 'A'
const LISTEN = /^listen ([a-z_]+)/

/**
 * The way of one node to its database. It knows at any moment whether anything is under way on it, whichever pool of
 * the node asked; it can tell when every notification that was committed before has been heard; and it can be cut, as
 * where a process dies: the server rolls back what was open, and the node hears nothing more.
 */
export class DatabaseLine {
  /** The same database, by this line. */
  readonly url: string
  readonly #server: Server
  readonly #pairs = new Set<Pair>()
  readonly #to: { readonly host: string; readonly port: number }
  #isCut = false
  #asked = 0
  /** Who waits for a mark to be heard, and how often it is still to come. */
  readonly #marks = new Map<string, { left: number; heard: () => void }>()

  private constructor(server: Server, databaseUrl: string) {
    const url = new URL(databaseUrl)
    this.#to = { host: url.hostname, port: Number(url.port) }
    url.port = String((server.address() as AddressInfo).port)
    this.url = url.href
    this.#server = server
    server.on('connection', (near) => this.#take(near))
  }

  static async open(databaseUrl: string): Promise<DatabaseLine> {
    const server = createServer()
    await new Promise<void>((resolve) => {
      server.listen(0, '127.0.0.1', resolve)
    })
    return new DatabaseLine(server, databaseUrl)
  }

  /** Questions of the node that are not answered yet. */
  get pending(): number {
    let sum = 0
    if (!this.#isCut) for (const pair of this.#pairs) sum += pair.pending
    return sum
  }

  /** Questions of the node so far. */
  get asked(): number {
    return this.#asked
  }

  /** Channels that the node listens on, each once for each connection that does. */
  get channels(): readonly string[] {
    return this.#isCut ? [] : [...this.#pairs].flatMap(({ channel }) => channel ?? [])
  }

  /**
   * Resolves when this payload has come on all of the node's channels. It is not passed on. PostgreSQL tells a
   * connection of what was committed in the order of the commits: all that was sent before has been heard by then.
   */
  heard(mark: string): Promise<void> {
    const left = this.channels.length
    if (left === 0) return Promise.resolve()
    return new Promise((heard) => {
      this.#marks.set(mark, { left, heard })
    })
  }

  /** From now on the node hears nothing. The server ends its sessions, with what was open in them. */
  cut(): void {
    this.#isCut = true
    for (const { near, far } of this.#pairs) {
      near.pause()
      far.destroy()
    }
    this.#giveUpMarks()
  }

  /** The node finds its connections gone, and may make others. */
  mend(): void {
    if (!this.#isCut) return
    this.#isCut = false
    for (const pair of this.#pairs) this.#end(pair)
  }

  async close(): Promise<void> {
    for (const pair of this.#pairs) this.#end(pair)
    await new Promise<void>((resolve) => {
      this.#server.close(() => resolve())
    })
  }

  #take(near: Socket): void {
    near.setNoDelay(true)
    near.on('error', () => {})
    const far = connect(this.#to)
    far.setNoDelay(true)
    far.on('error', () => {})
    // It is not ready before the server has let it in.
    const pair: Pair = { near, far, pending: 1, channel: undefined }
    this.#pairs.add(pair)
    if (this.#isCut) {
      near.pause()
      far.destroy()
      return
    }
    const asked = new Frames('unnamed first')
    near.on('data', (chunk: Buffer) => {
      for (const frame of asked.read(chunk)) this.#asks(pair, frame)
      far.write(chunk)
    })
    const answered = new Frames('all named')
    far.on('data', (chunk: Buffer) => {
      if (this.#isCut) return
      const passed = answered.read(chunk).filter((frame) => !this.#isMark(frame))
      for (const { type } of passed) if (type === READY_FOR_QUERY) pair.pending--
      if (passed.length > 0) near.write(Buffer.concat(passed.map(({ bytes }) => bytes)))
    })
    for (const socket of [near, far])
      socket.once('close', () => {
        // Whose line is cut is not told that the server is gone.
        if (!this.#isCut) this.#end(pair)
      })
  }

  #asks(pair: Pair, { type, bytes }: Frame): void {
    if (type === QUERY || type === SYNC) {
      pair.pending++
      this.#asked++
    }
    if (type === QUERY) pair.channel = LISTEN.exec(bytes.toString('utf8', 5, 64))?.[1] ?? pair.channel
  }

  #isMark({ type, bytes }: Frame): boolean {
    if (type !== NOTIFICATION) return false
    const [, payload = ''] = bytes.toString('utf8', 9).split('\0')
    const mark = this.#marks.get(payload)
    if (mark && --mark.left === 0) {
      this.#marks.delete(payload)
      mark.heard()
    }
    return payload.startsWith(MARK)
  }

  #giveUpMarks(): void {
    for (const { heard } of this.#marks.values()) heard()
    this.#marks.clear()
  }

  #end(pair: Pair): void {
    if (!this.#pairs.delete(pair)) return
    pair.near.destroy()
    pair.far.destroy()
    // Somebody who waits for all of its channels must not wait for this one for ever.
    if (pair.channel !== undefined) this.#giveUpMarks()
  }
}
