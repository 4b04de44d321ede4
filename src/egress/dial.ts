import { lookup as systemLookup, type LookupAddress } from 'node:dns'
import { connect as connectTcp, isIP, type LookupFunction, type Socket } from 'node:net'
import { buildConnector } from 'undici'
import type { Clock } from '../base/index.ts'
import type { Certificates } from './certificates.ts'
import { refusalOfAddress, type EgressPolicy } from './policy.ts'

/** The code of the error with which a dial is refused. */
export const DENIED = 'EGRESS_DENIED'

/** The policy refuses the address. */
export class DialDenied extends Error {
  readonly code = DENIED
}

/** The codes of a phase that took longer than the policy gives it. */
export const PHASE_TIMEOUT = { name: 'ETIMEDOUT_NAME', connect: 'ETIMEDOUT', tls: 'ETIMEDOUT_TLS' } as const

export type Resolve = (
  hostname: string,
  done: (error: NodeJS.ErrnoException | null, addresses: readonly LookupAddress[]) => void,
) => void

/** The machine's resolver, hosts file included. */
export const systemResolve: Resolve = (hostname, done) => {
  systemLookup(hostname, { all: true }, done)
}

/** What makes sockets. Default: `net.connect`. */
export type ConnectTcp = (options: {
  readonly host: string
  readonly port: number
  readonly lookup: LookupFunction
  readonly highWaterMark: number
}) => Socket

interface DialParts {
  readonly clock: Clock
  readonly policy: Pick<EgressPolicy, 'nameTimeoutMs' | 'tcpTimeoutMs' | 'tlsTimeoutMs'>
  readonly resolve?: Resolve | undefined
  readonly connect?: ConnectTcp | undefined
}

export interface DialOptions extends DialParts {
  readonly certificates: Certificates
  readonly allowPrivate: boolean
  /** Trusted certificate authorities in PEM beside the system's, for systems with their own. */
  readonly ca?: string
}

/** As undici's own sockets for http. */
const READ_AHEAD_BYTES = 64 * 1024
const TCP_KEEP_ALIVE_MS = 60_000

/**
 * Opens sockets for undici, and only to addresses that the policy allows: name, connection and TLS one after the
 * other, each with its own time.
 */
export function createDial(options: DialOptions): buildConnector.connector {
  const { clock, policy, allowPrivate, certificates } = options
  const tls = {
    allowH2: false as const,
    timeout: 0, // The phases below keep the time.
    ...(options.ca === undefined ? {} : { ca: options.ca }),
  }
  const secure = buildConnector(tls)
  const secureAnew = buildConnector({ ...tls, maxCachedSessions: 0 })

  return (target, done) => {
    const isSecure = target.protocol === 'https:'
    const refusalOf = (address: string): string | undefined =>
      refusalOfAddress(address, allowPrivate, isSecure)
    const port = Number(target.port || (isSecure ? 443 : 80))
    openTcp({ host: target.hostname, port, refusalOf }, options).then(
      (socket) => {
        if (isSecure) handshake(socket, target, port, done)
        else done(null, socket.setNoDelay(true).setKeepAlive(true, TCP_KEEP_ALIVE_MS))
      },
      (error: Error) => done(error, null),
    )
  }

  function handshake(
    httpSocket: Socket,
    target: buildConnector.Options,
    port: number,
    done: buildConnector.Callback,
  ): void {
    const server = { host: target.hostname, port }
    let isOver = false
    const cancel = clock.after(policy.tlsTimeoutMs, () => {
      isOver = true
      httpSocket.destroy()
      done(tookTooLong('tls', `The TLS handshake took over ${policy.tlsTimeoutMs} ms.`), null)
    })
    const connect = certificates.isCurrent(server) ? secure : secureAnew
    connect({ ...target, httpSocket }, (...[error, socket]) => {
      if (isOver) return socket?.destroy()
      cancel()
      if (error !== null) return done(error, null)
      certificates.note(server, socket)
      return socket.destroyed ? done(closedEarly(), null) : done(null, socket)
    })
  }
}

export interface TcpTarget {
  /** A name, or an address as `isIP` knows it. */
  readonly host: string
  readonly port: number
  /** Why an address may not be connected to. */
  readonly refusalOf: (address: string) => string | undefined
}

/**
 * Opens a TCP connection to an allowed address. A name is resolved once; what that gave is judged and is what is
 * connected to, so that no second resolution can give another (DNS rebinding). The connected peer is judged once
 * more before a byte is written.
 */
export async function openTcp(target: TcpTarget, parts: DialParts): Promise<Socket> {
  const { host, port, refusalOf } = target
  const addresses = await allowedAddresses(target, parts)
  const dial: ConnectTcp = parts.connect ?? connectTcp
  return new Promise((opened, failed) => {
    const socket = dial({ host, port, lookup: lookupOf(addresses), highWaterMark: READ_AHEAD_BYTES })
    const cancel = parts.clock.after(parts.policy.tcpTimeoutMs, () =>
      socket.destroy(
        tookTooLong('connect', `No connection to ${host}:${port} within ${parts.policy.tcpTimeoutMs} ms.`),
      ),
    )
    // It stays: between here and the next owner's own, an error must not end the process.
    socket.on('error', (error) => {
      cancel()
      failed(error)
    })
    socket.once('connect', () => {
      cancel()
      const fault = faultOfSocket(socket, refusalOf)
      if (fault === undefined) return opened(socket)
      failed(fault)
      return socket.destroy()
    })
  })
}

/** The addresses of the host that have no refusal. Rejects with the first refusal if there is none. */
async function allowedAddresses(
  { host, refusalOf }: TcpTarget,
  { clock, policy, resolve = systemResolve }: DialParts,
): Promise<readonly LookupAddress[]> {
  const family = isIP(host)
  const found =
    family === 0
      ? await resolveWithin(host, resolve, clock, policy.nameTimeoutMs)
      : [{ address: host, family }]
  const refusals = found.map(({ address }) => refusalOf(address))
  const allowed = found.filter((_, i) => refusals[i] === undefined)
  if (allowed.length > 0) return allowed
  throw new DialDenied(refusals[0] ?? `The name ${host} has no address.`)
}

function resolveWithin(
  host: string,
  resolve: Resolve,
  clock: Clock,
  limitMs: number,
): Promise<readonly LookupAddress[]> {
  return new Promise((resolved, failed) => {
    const cancel = clock.after(limitMs, () =>
      failed(tookTooLong('name', `The name ${host} was not resolved within ${limitMs} ms.`)),
    )
    resolve(host, (error, addresses) => {
      cancel()
      if (error) failed(error)
      else resolved(addresses)
    })
  })
}

/** A lookup that gives what is known already, and asks nobody. */
function lookupOf(addresses: readonly LookupAddress[]): LookupFunction {
  return (_, options, done) => {
    if (options.all === true) done(null, [...addresses])
    else done(null, addresses[0]!.address, addresses[0]!.family)
  }
}

/** A socket that closed while it was being opened has no peer any more; undici would dial again without end. */
function faultOfSocket(
  socket: Socket,
  refusalOf: (address: string) => string | undefined,
): Error | undefined {
  const address = socket.remoteAddress
  if (socket.destroyed || address === undefined) return closedEarly()
  const refusal = refusalOf(address)
  return refusal === undefined ? undefined : new DialDenied(refusal)
}

function closedEarly(): Error {
  return Object.assign(new Error('The connection was closed as soon as it was made.'), { code: 'ECONNRESET' })
}

function tookTooLong(phase: keyof typeof PHASE_TIMEOUT, text: string): Error {
  return Object.assign(new Error(text), { code: PHASE_TIMEOUT[phase] })
}
