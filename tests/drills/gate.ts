import { createServer, connect, type AddressInfo, type Socket } from 'node:net'

/**
 * What stands between nodes and PostgreSQL.
 * - `open`: everything passes.
 * - `swallows`: nothing arrives on either side, and nobody is told, as with a packet filter that drops.
 * - `resets`: connections are reset, those that exist and those that are tried.
 */
export type GateMode = 'open' | 'swallows' | 'resets'

export interface Gate {
  /** The same database, through the gate. */
  readonly through: (databaseUrl: string) => string
  set(mode: GateMode): void
  /** Connections through it now. */
  readonly connections: () => number
  close(): Promise<void>
}

/** Listens on a free port and passes on to `port`, both on 127.0.0.1. */
export async function openGate(port: number): Promise<Gate> {
  let mode: GateMode = 'open'
  const pairs = new Set<readonly [near: Socket, far: Socket]>()
  const server = createServer((near) => {
    near.on('error', () => {})
    if (mode === 'resets') return void near.resetAndDestroy()
    const far = connect({ port, host: '127.0.0.1' })
    far.on('error', () => {})
    const pair = [near, far] as const
    pairs.add(pair)
    pass(near, far)
    pass(far, near)
    for (const socket of pair)
      socket.once('close', () => {
        pairs.delete(pair)
        for (const one of pair) one.destroy()
      })
    if (mode === 'swallows') hold(pair)
  })
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve)
  })
  const own = (server.address() as AddressInfo).port
  return {
    through(databaseUrl) {
      const url = new URL(databaseUrl)
      url.port = String(own)
      return url.href
    },
    set(next) {
      mode = next
      for (const pair of pairs) {
        if (next === 'resets') for (const socket of pair) socket.resetAndDestroy()
        else if (next === 'swallows') hold(pair)
        else for (const socket of pair) socket.resume()
      }
    },
    connections: () => pairs.size,
    async close() {
      for (const pair of pairs) for (const socket of pair) socket.destroy()
      await new Promise((resolve) => {
        server.close(resolve)
      })
    },
  }
}

function pass(from: Socket, to: Socket): void {
  from.on('data', (chunk) => void to.write(chunk))
  from.on('end', () => void to.end())
}

/** What comes stays where it is: the sender's kernel takes some of it, as it does where packets are lost. */
function hold(pair: readonly Socket[]): void {
  for (const socket of pair) socket.pause()
}
