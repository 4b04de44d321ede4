import { isIP, connect, type Socket } from 'node:net'
import type { Clock } from '../base/index.ts'
import { DialDenied, faultOfSocket, guardedLookup, systemResolve, type Resolve } from './dial.ts'
import { refusalOfAddress } from './policy.ts'

export interface SocketRequest {
  readonly host: string
  readonly port: number
  /** Private and loopback addresses too. To a public address the caller must speak TLS, here or by STARTTLS. */
  readonly allowPrivate: boolean
  /** Milliseconds until it is open. */
  readonly timeoutMs: number
}

/**
 * Opens a plain TCP socket for a protocol that is not HTTP, such as SMTP, under the same policy of addresses: judged
 * where they are used, and once more on the connected socket. Rejects with what kept it from opening.
 */
export function openSocket(
  request: SocketRequest,
  { clock, resolve = systemResolve }: { readonly clock: Clock; readonly resolve?: Resolve | undefined },
): Promise<Socket> {
  const { host, port, allowPrivate, timeoutMs } = request
  const refusalOf = (address: string): string | undefined => refusalOfAddress(address, allowPrivate, true)
  const refusal = isIP(host) ? refusalOf(host) : undefined
  if (refusal !== undefined) return Promise.reject(new DialDenied(refusal))
  return new Promise((opened, failed) => {
    const socket = connect({ host, port, lookup: guardedLookup(resolve, refusalOf) })
    const cancel = clock.after(timeoutMs, () =>
      socket.destroy(
        Object.assign(new Error(`No connection to ${host}:${port} within ${timeoutMs} ms.`), {
          code: 'ETIMEDOUT',
        }),
      ),
    )
    const onError = (error: Error): void => {
      cancel()
      failed(error)
    }
    socket.once('error', onError)
    socket.once('connect', () => {
      cancel()
      const fault = faultOfSocket(socket, refusalOf)
      if (fault === undefined) {
        socket.off('error', onError)
        opened(socket)
      } else socket.destroy(fault)
    })
  })
}
