import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { Webhook } from 'standardwebhooks'
import { systemClock, systemRandom } from '../../src/base/index.ts'
import type { AlertsDefinition } from '../../src/define/index.ts'

/** One alert, as somebody was told. */
interface Told {
  readonly as: 'opened' | 'resolved'
  readonly kind: string
  readonly what: string
  /** When it came, by the monotonic clock. */
  readonly at: number
}

/** Who is told of incidents during a drill: outside of the platform, each alert verified by the official package. */
export interface AlertSink {
  readonly alerts: AlertsDefinition
  readonly told: readonly Told[]
  /** Milliseconds from `since` until an incident of this kind was told; `undefined`: none was. */
  afterMs(kind: string, since: number): number | undefined
  close(): void
}

export async function openAlertSink(): Promise<AlertSink> {
  const secret = `whsec_${systemRandom.bytes(32).toString('base64')}`
  const told: Told[] = []
  const server = createServer((request, response) => {
    const parts: Buffer[] = []
    request.on('data', (part: Buffer) => parts.push(part))
    request.on('end', () => {
      const { type, data } = new Webhook(secret).verify(
        Buffer.concat(parts).toString(),
        request.headers as Record<string, string>,
      ) as { readonly type: string; readonly data: { readonly kind: string; readonly what: string } }
      told.push({
        as: type.endsWith('resolved') ? 'resolved' : 'opened',
        kind: data.kind,
        what: data.what,
        at: systemClock.monotonic(),
      })
      response.writeHead(204).end()
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  return {
    alerts: { webhook: { url: `http://127.0.0.1:${port}/alerts`, secret, allowPrivateNetwork: true } },
    told,
    afterMs(kind, since) {
      const first = told.find((one) => one.as === 'opened' && one.kind === kind && one.at >= since)
      return first && Math.round(first.at - since)
    },
    close() {
      server.closeAllConnections()
      server.close()
    },
  }
}
