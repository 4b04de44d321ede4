/** One message of PostgreSQL's protocol. Source: PostgreSQL 18, "Message Formats" (55.7). */
export interface Frame {
  /** Its letter; empty for the first message of a client, which has none. */
  readonly type: string
  /** All of it, the letter and the length with it. */
  readonly bytes: Buffer
}

const LENGTH_BYTES = 4

/** Cuts one direction of a connection to PostgreSQL into its messages. */
export class Frames {
  #rest: Buffer = Buffer.alloc(0)
  #named: boolean

  /** A client's first message has no letter; all others, and all of the server's, have one. */
  constructor(kind: 'unnamed first' | 'all named') {
    this.#named = kind === 'all named'
  }

  /** The messages that are whole by now. */
  read(chunk: Buffer): readonly Frame[] {
    const bytes = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk])
    const frames: Frame[] = []
    let at = 0
    for (;;) {
      const letter = this.#named ? 1 : 0
      if (bytes.length < at + letter + LENGTH_BYTES) break
      const end = at + letter + bytes.readUInt32BE(at + letter)
      if (bytes.length < end) break
      frames.push({
        type: this.#named ? String.fromCharCode(bytes[at]!) : '',
        bytes: bytes.subarray(at, end),
      })
      this.#named = true
      at = end
    }
    this.#rest = bytes.subarray(at)
    return frames
  }
}
