import { connect } from 'node:net'
import type { LookupAddress } from 'node:dns'
import { Agent, type Dispatcher } from 'undici'
import type { ConnectTcp, Resolve } from '../../../src/egress/index.ts'
import { classOfAddress } from '../../../src/egress/addresses.ts'

/**
 * A small internet, since nothing of a drill may leave the machine. Every address that must not be reached leads to
 * this machine, at the port that was asked for: that of the canary. Every other one leads to the sink. A socket says
 * that it is connected to the address that was asked for, as one of the real internet does.
 */
export function createInternet(sinkPort: number): ConnectTcp {
  return ({ host, port, lookup }) => {
    let to = host
    // What egress has judged is answered at once.
    lookup(host, { all: true }, (_, addresses) => {
      to = (addresses as unknown as LookupAddress[])[0]!.address
    })
    return socketTo(to, port, sinkPort)
  }
}

function socketTo(address: string, port: number, sinkPort: number) {
  const socket = connect({
    host: '127.0.0.1',
    port: classOfAddress(address) === 'public' ? sinkPort : port,
  })
  Object.defineProperty(socket, 'remoteAddress', { get: () => (socket.destroyed ? undefined : address) })
  return socket
}

/** A way out that judges nothing: it resolves, and connects to the first address. TLS is left out. */
export function withoutPolicy(resolve: Resolve, sinkPort: number): Dispatcher {
  return new Agent({
    connect: (target, done) => {
      const go = (address: string): void => {
        const port = Number(target.port || (target.protocol === 'https:' ? 443 : 80))
        const socket = socketTo(address, port, sinkPort)
        socket.once('error', (error) => done(error, null))
        socket.once('connect', () => done(null, socket))
      }
      const host = target.hostname.replace(/^\[|\]$/g, '')
      if (classOfAddress(host) !== 'forbidden' || /^[\d.]+$|:/.test(host)) return go(host)
      resolve(host, (error, addresses) => (error ? done(error, null) : go(addresses[0]!.address)))
    },
  })
}
