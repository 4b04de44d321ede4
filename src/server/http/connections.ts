import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import { SECOND } from '../../base/index.ts'
import { neighbourhoodOf, whoYields, type Holding } from '../../webhooks/index.ts'

/** Limits of the connections to a node, whoever makes them. */
export interface ConnectionLimits {
  /** Connections at once; for a further one, another that waits for its client is closed. Default 2,000. */
  readonly maxConnections: number
  /** From a connection's first byte to the end of its request's headers; longer is 408. Default 10 s. */
  readonly headersTimeoutMs: number
  /** The same to the end of the body; longer is 408. Default 30 s. */
  readonly requestTimeoutMs: number
  /**
   * How often these two are looked at, which is how much later they may come: `connectionsCheckingInterval`, which
   * Node takes only where the server is made. Default 2 s.
   */
  readonly lookEveryMs: number
  /** How long a connection may rest between two requests: longer than load balancers keep theirs. Default 65 s. */
  readonly keepAliveMs: number
}

export const CONNECTION_LIMITS: ConnectionLimits = {
  maxConnections: 2000,
  headersTimeoutMs: 10 * SECOND,
  requestTimeoutMs: 30 * SECOND,
  lookEveryMs: 2 * SECOND,
  keepAliveMs: 65 * SECOND,
}

/**
 * Bounds the connections of a server. Where there are too many, one yields that waits for its client: for a request,
 * or for the rest of one. What we are at work on is never cut, and a newcomer is refused only where we are at work
 * on all others; so connections that are held open keep nobody out.
 */
export function boundConnections(server: Server, limits: ConnectionLimits = CONNECTION_LIMITS): void {
  server.keepAliveTimeout = limits.keepAliveMs
  server.headersTimeout = limits.headersTimeoutMs
  server.requestTimeout = limits.requestTimeoutMs
  // Who was heard last stands last.
  const open = new Map<Socket, Connection>()
  server.on('connection', (socket: Socket) => {
    const connection = new Connection(socket)
    open.set(socket, connection)
    socket.once('close', () => open.delete(socket))
    if (open.size <= limits.maxConnections) return
    const [yields = connection] = whoYields(waitingIn(open), 1)
    yields.socket.destroy()
  })
  server.on('request', (request: IncomingMessage, response: ServerResponse) => {
    const connection = open.get(request.socket)
    if (connection) {
      connection.begin(request, response)
      open.delete(request.socket)
      open.set(request.socket, connection)
    }
  })
}

function* waitingIn(open: ReadonlyMap<Socket, Connection>): Generator<Connection> {
  for (const connection of open.values()) if (connection.waitsForClient) yield connection
}

class Connection implements Holding {
  readonly socket: Socket
  readonly held = 1
  /** Which one its request is for is not known before it comes. */
  readonly endpoint = ''
  #request: IncomingMessage | undefined
  #response: ServerResponse | undefined

  constructor(socket: Socket) {
    this.socket = socket
  }

  get address(): string {
    return neighbourhoodOf(this.socket.remoteAddress)
  }

  get waitsForClient(): boolean {
    return this.#request?.complete !== true || this.#response?.writableFinished !== false
  }

  begin(request: IncomingMessage, response: ServerResponse): void {
    this.#request = request
    this.#response = response
  }
}
