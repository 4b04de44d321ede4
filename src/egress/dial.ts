import { lookup as systemLookup, type LookupAddress } from 'node:dns'
import { isIP, type LookupFunction, type Socket } from 'node:net'
import { buildConnector } from 'undici'
import { refusalOfAddress, type EgressPolicy } from './policy.ts'

/** The code of the error with which a dial is refused. */
export const DENIED = 'EGRESS_DENIED'

/** The policy refuses the address. */
export class DialDenied extends Error {
  readonly code = DENIED
}

export interface DialOptions {
  readonly policy: EgressPolicy
  readonly allowPrivate: boolean
  /** All addresses of a name, as `dns.lookup` with `all: true` gives them. */
  readonly resolve?: Resolve
  /** Trusted certificate authorities in PEM beside the system's, for systems with their own. */
  readonly ca?: string
  /** What makes the sockets. Default: undici's. */
  readonly connectorOf?: (options: buildConnector.BuildOptions) => buildConnector.connector
}

export type Resolve = (
  hostname: string,
  done: (error: NodeJS.ErrnoException | null, addresses: readonly LookupAddress[]) => void,
) => void

/** The machine's resolver, hosts file included. */
export const systemResolve: Resolve = (hostname, done) => {
  systemLookup(hostname, { all: true }, done)
}

/**
 * Opens sockets for undici, and only to addresses that the policy allows. An address is judged where it is used:
 * a literal before the dial, a resolved one inside the lookup that the dial itself makes, so that no second
 * resolution can give another (DNS rebinding), and once more on the connected socket before a byte is written.
 */
export function createDial(options: DialOptions): buildConnector.connector {
  const { policy, allowPrivate, resolve = systemResolve, connectorOf = buildConnector } = options
  // One connector per scheme, since http may only go to private addresses.
  const connectors = {
    'https:': connectorFor(true),
    'http:': connectorFor(false),
  }

  function connectorFor(secure: boolean): buildConnector.connector {
    const connect = connectorOf({
      timeout: policy.connectTimeoutMs,
      allowH2: false,
      lookup: guardedLookup(resolve, (address) => refusalOfAddress(address, allowPrivate, secure)),
      ...(options.ca === undefined ? {} : { ca: options.ca }),
    })
    return (target, done) => {
      const refusal = isIP(target.hostname)
        ? refusalOfAddress(target.hostname, allowPrivate, secure)
        : undefined
      if (refusal !== undefined) {
        done(new DialDenied(refusal), null)
        return
      }
      connect(target, (...[error, socket]) => {
        if (error !== null) return done(error, null)
        const fault = faultOfSocket(socket, (address) => refusalOfAddress(address, allowPrivate, secure))
        if (fault === undefined) return done(null, socket)
        socket.on('error', () => undefined).destroy()
        return done(fault, null)
      })
    }
  }

  return (target, done) => {
    connectors[target.protocol === 'https:' ? 'https:' : 'http:'](target, done)
  }
}

/** A socket that closed while it was being opened has no peer any more; undici would dial again without end. */
export function faultOfSocket(
  socket: Socket,
  refusalOf: (address: string) => string | undefined,
): Error | undefined {
  const address = socket.remoteAddress
  if (socket.destroyed || address === undefined)
    return Object.assign(new Error('The connection was closed as soon as it was made.'), {
      code: 'ECONNRESET',
    })
  const refusal = refusalOf(address)
  return refusal === undefined ? undefined : new DialDenied(refusal)
}

/** A lookup that gives only addresses without a refusal, and fails with the first refusal if there is none. */
export function guardedLookup(
  resolve: Resolve,
  refusalOf: (address: string) => string | undefined,
): LookupFunction {
  return (hostname, options, done) => {
    resolve(hostname, (error, addresses) => {
      if (error) return done(error, '')
      const refusals: string[] = []
      const allowed = addresses.filter(({ address }) => {
        const refusal = refusalOf(address)
        if (refusal !== undefined) refusals.push(refusal)
        return refusal === undefined
      })
      const first = allowed[0]
      if (first === undefined)
        return done(new DialDenied(refusals[0] ?? `The name ${hostname} has no address.`), '')
      if (options.all === true) return done(null, allowed)
      return done(null, first.address, first.family)
    })
  }
}
