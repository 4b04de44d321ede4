import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'

/** One webhook as it arrived. */
export interface Received {
  readonly method: string
  /** The public URL that the provider was given, with the query that came. */
  readonly url: string
  /** As they came, repeated ones kept. */
  readonly rawHeaders: readonly (readonly [string, string])[]
  /** Lower-case names. */
  readonly headers: Readonly<Record<string, string>>
  readonly body: Buffer
}

/** A receiver of webhooks that keeps everything and answers 200. */
export interface Receiver {
  readonly url: string
  readonly received: readonly Received[]
  stop(): Promise<void>
}

export async function startReceiver(): Promise<Receiver> {
  const received: Received[] = []
  let origin = ''
  const server = createServer({ keepAliveTimeout: 60_000 }, (request, response) => {
    const chunks: Buffer[] = []
    request.on('data', (chunk: Buffer) => chunks.push(chunk))
    request.on('end', () => {
      const rawHeaders: [string, string][] = []
      for (let i = 0; i < request.rawHeaders.length; i += 2)
        rawHeaders.push([request.rawHeaders[i]!.toLowerCase(), request.rawHeaders[i + 1]!])
      received.push({
        method: request.method ?? '',
        url: origin + (request.url ?? ''),
        rawHeaders,
        headers: Object.fromEntries(rawHeaders),
        body: Buffer.concat(chunks),
      })
      response.end()
    })
  })
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve)
  })
  origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  return {
    url: `${origin}/webhooks/conformance`,
    received,
    stop: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}
