import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { TwinAnswer } from './routes.ts'
import { render } from './routes.ts'

const BODY_LIMIT = 10 * 1024 * 1024

/** A port on 127.0.0.1 that can be opened, closed and opened again at the same number. */
export interface Port {
  /** The number; 0 before the first opening. */
  number(): number
  /** Listens; 0 takes a free port, or the one that it had before. */
  open(wanted?: number): Promise<void>
  /** Stops listening and cuts every connection. */
  close(): Promise<void>
}

export function createPort(
  receive: (request: IncomingMessage, response: ServerResponse) => Promise<void>,
): Port {
  let server: Server | undefined
  let number = 0
  return {
    number: () => number,
    open: (wanted = 0) =>
      new Promise((resolve, reject) => {
        if (server) return resolve()
        const opening = createServer({ keepAliveTimeout: 60_000 }, (request, response) => {
          receive(request, response).catch((error: Error) => response.destroy(error))
        })
        server = opening
        opening.once('error', reject)
        opening.listen(wanted || number, '127.0.0.1', () => {
          number = (opening.address() as AddressInfo).port
          resolve()
        })
      }),
    close: () =>
      new Promise((resolve) => {
        const closing = server
        server = undefined
        if (!closing) return resolve()
        closing.close(() => resolve())
        closing.closeAllConnections()
      }),
  }
}

/** The whole body; at most 10 MiB. */
export async function readBody(incoming: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = []
  let length = 0
  for await (const chunk of incoming) {
    length += (chunk as Buffer).length
    if (length > BODY_LIMIT) throw new Error(`The body is larger than ${BODY_LIMIT} bytes.`)
    chunks.push(chunk as Buffer)
  }
  return Buffer.concat(chunks)
}

/** Headers by lower-case name, repeated ones joined. */
export function headersOf(incoming: IncomingMessage): Record<string, string> {
  const headers: Record<string, string> = {}
  for (const [name, value] of Object.entries(incoming.headers)) {
    if (value !== undefined) headers[name] = Array.isArray(value) ? value.join(', ') : value
  }
  return headers
}

export function sendAnswer(response: ServerResponse, answer: TwinAnswer): void {
  const { status, headers, body } = render(answer)
  response.writeHead(status, { ...headers, 'content-length': Buffer.byteLength(body) })
  response.end(body)
}

/** Cuts the connection so that the other side sees a reset, not an end. */
export function cutConnection(response: ServerResponse): void {
  response.socket?.resetAndDestroy()
}
