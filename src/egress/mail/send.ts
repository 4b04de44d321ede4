import type { Socket } from 'node:net'
import type { Clock } from '../../base/index.ts'
import { classOfAddress } from '../addresses.ts'
import type { Certificates } from '../certificates.ts'
import { openTcp, type ConnectTcp, type Resolve } from '../dial.ts'
import { notSent, notSentBecause } from '../notSent.ts'
import { refusalOfAddress, type EgressPolicy } from '../policy.ts'
import { MailExchange, type MailExchangeRequest, type MailResult } from './exchange.ts'

export interface MailParts {
  readonly clock: Clock
  readonly policy: EgressPolicy
  readonly resolve: Resolve | undefined
  readonly connect: ConnectTcp | undefined
  readonly ca: string | undefined
  readonly certificates: Certificates
}

/** Opens a socket under the policy of addresses, and has one session over it. Never rejects. */
export async function sendMail(
  request: MailExchangeRequest,
  sockets: Set<Socket>,
  parts: MailParts,
): Promise<MailResult> {
  const { server, allowPrivate, spentMs = 0, timeoutMs } = request
  const { clock, policy } = parts
  if (server.security === 'none' && !allowPrivate)
    return notSentBecause(
      'egress_denied',
      'The mail server is to be used without TLS, which sends password and mail in the clear. Use TLS, or allow private networks on the connection if this server is yours.',
    )
  const begunAt = clock.monotonic() - spentMs
  let socket: Socket
  try {
    const refusalOf = (address: string): string | undefined => refusalOfServer(address, request)
    const tcpTimeoutMs = Math.min(policy.tcpTimeoutMs, timeoutMs)
    socket = await openTcp({ ...server, refusalOf }, { ...parts, policy: { ...policy, tcpTimeoutMs } })
  } catch (error) {
    return notSent(error as Error)
  }
  sockets.add(socket)
  socket.once('close', () => sockets.delete(socket))
  const { ca, certificates } = parts
  return new MailExchange(request, socket, { clock, policy, begunAt, ca, certificates }).done
}

function refusalOfServer(address: string, { server, allowPrivate }: MailExchangeRequest): string | undefined {
  if (server.security === 'none' && classOfAddress(address) === 'public')
    return `The address ${address} is public, and mails go there by TLS only. Write smtps:// or smtp:// without "?tls=none".`
  return refusalOfAddress(address, allowPrivate, true)
}
