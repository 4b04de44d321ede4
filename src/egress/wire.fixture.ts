import { createServer, type AddressInfo, type Server, type Socket } from 'node:net'

/** A server below HTTP, so that a test decides about every byte and every close. */
export interface Wire {
  readonly port: number
  readonly url: string
  /** Connections that were made. */
  connections(): number
  /** Everything that was received, over all connections. */
  received(): string
  /** Whole requests that were received. */
  requests(): number
  /** Resolves when the server has this many whole requests. */
  untilRequests(count: number): Promise<void>
  /** Resolves when this many connections have closed on both sides. */
  untilClosed(count: number): Promise<void>
  close(): Promise<void>
}

/** What is done with the n-th whole request (from 1), on its socket. */
export type Script = (socket: Socket, n: number) => void

export async function openWire(script: Script, onConnect?: (socket: Socket) => void): Promise<Wire> {
  let connections = 0
  let received = ''
  let requests = 0
  let closed = 0
  const waiting = new Set<() => void>()
  const wake = (): void => {
    for (const check of waiting) check()
  }
  const until = (met: () => boolean): Promise<void> =>
    new Promise((resolve) => {
      const check = (): void => {
        if (!met()) return
        waiting.delete(check)
        resolve()
      }
      waiting.add(check)
      check()
    })
  const sockets = new Set<Socket>()
  const server: Server = createServer((socket) => {
    connections++
    sockets.add(socket)
    let buffered = ''
    socket.on('error', () => undefined)
    socket.on('close', () => {
      closed++
      sockets.delete(socket)
      wake()
    })
    socket.on('data', (chunk) => {
      received += chunk.toString('latin1')
      buffered += chunk.toString('latin1')
      for (let length = wholeRequest(buffered); length > 0; length = wholeRequest(buffered)) {
        buffered = buffered.slice(length)
        requests++
        script(socket, requests)
        wake()
      }
    })
    onConnect?.(socket)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  return {
    port,
    url: `http://127.0.0.1:${port}/v1/things`,
    connections: () => connections,
    received: () => received,
    requests: () => requests,
    untilRequests: (count) => until(() => requests >= count),
    untilClosed: (count) => until(() => closed >= count),
    async close() {
      for (const socket of sockets) socket.destroy()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

/** Length of the first whole request in `text`, or 0. */
function wholeRequest(text: string): number {
  const head = text.indexOf('\r\n\r\n')
  if (head < 0) return 0
  const length = Number(/content-length: (\d+)/i.exec(text.slice(0, head))?.[1] ?? 0)
  return text.length >= head + 4 + length ? head + 4 + length : 0
}

/** An answer with a length, kept alive. */
export function answer(body: string | Buffer, status = '200 OK', headers = ''): Buffer {
  const bytes = Buffer.from(body)
  return Buffer.concat([
    Buffer.from(`HTTP/1.1 ${status}\r\n${headers}content-length: ${bytes.length}\r\n\r\n`),
    bytes,
  ])
}
