import type { Socket } from 'node:net'
import type { Clock } from '../base/index.ts'
import { openTcp, type Resolve } from './dial.ts'
import { refusalOfAddress, type EgressPolicy } from './policy.ts'

export interface SocketRequest {
  readonly host: string
  readonly port: number
  /** Private and loopback addresses too. To a public address the caller must speak TLS, here or by STARTTLS. */
  readonly allowPrivate: boolean
  /** Milliseconds until it is open; the policy's time for a name holds within it. */
  readonly timeoutMs: number
}

/**
 * Opens a plain TCP socket for a protocol that is not HTTP, such as SMTP, under the same policy of addresses: judged
 * where they are used, and once more on the connected socket. Rejects with what kept it from opening.
 */
export function openSocket(
  request: SocketRequest,
  parts: { readonly clock: Clock; readonly policy: EgressPolicy; readonly resolve?: Resolve | undefined },
): Promise<Socket> {
  const { host, port, allowPrivate, timeoutMs } = request
  const { nameTimeoutMs, tlsTimeoutMs } = parts.policy
  return openTcp(
    { host, port, refusalOf: (address) => refusalOfAddress(address, allowPrivate, true) },
    {
      ...parts,
      policy: { nameTimeoutMs: Math.min(nameTimeoutMs, timeoutMs), tcpTimeoutMs: timeoutMs, tlsTimeoutMs },
    },
  )
}
