import { createServer, type AddressInfo, type Socket } from 'node:net'

/** A server on this machine that nobody may reach. Each connection that it sees is a hit, and is answered. */
export interface Canary {
  readonly port: number
  hits(): number
  /** Everything that was sent to it. */
  heard(): string
  close(): Promise<void>
}

export async function openCanary(host: '::' | '127.0.0.1' = '::'): Promise<Canary> {
  const sockets = new Set<Socket>()
  let hits = 0
  let heard = ''
  const server = createServer((socket) => {
    hits++
    sockets.add(socket)
    socket.on('error', () => undefined).on('close', () => sockets.delete(socket))
    socket.on('data', (chunk) => {
      heard += chunk.toString('latin1')
      socket.end('HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n')
    })
  })
  await new Promise<void>((resolve, reject) =>
    server.once('error', reject).listen({ port: 0, host, ipv6Only: false }, resolve),
  ).catch(() => new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve)))
  return {
    port: (server.address() as AddressInfo).port,
    hits: () => hits,
    heard: () => heard,
    async close() {
      for (const socket of sockets) socket.destroy()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}
