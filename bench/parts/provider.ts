/** The provider: answers at once, counts, and measures how long after the webhook the last call came. */
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { argument, serveParent } from './child.ts'
import { latencyOf } from './histogram.ts'

const { port = 0 } = argument<{ port?: number }>()
let calls = 0
let last = 0
let samples: number[] = []
let made = 0
const firstAfter: { at: number; time: number | undefined } = { at: Number.POSITIVE_INFINITY, time: undefined }

const server = createServer((request, response) => {
  const chunks: Buffer[] = []
  request.on('data', (chunk: Buffer) => chunks.push(chunk))
  request.on('end', () => {
    calls++
    const now = performance.timeOrigin + performance.now()
    if (now > firstAfter.at && firstAfter.time === undefined) firstAfter.time = now
    if (request.url === '/v1/invoices') {
      last++
      const { sentAt } = JSON.parse(Buffer.concat(chunks).toString()) as { sentAt: number }
      samples.push(now - sentAt)
    }
    response.setHeader('content-type', 'application/json')
    if (request.url === '/v1/poison') {
      response.statusCode = 503
      response.end('{"error":"not today"}')
      return
    }
    response.end(`{"id":"obj_${++made}","ok":true}`)
  })
})
server.keepAliveTimeout = 60_000
server.listen(port, '127.0.0.1', () => {
  serveParent(
    { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}` },
    (question) => {
      if (question['reset']) {
        calls = 0
        last = 0
        samples = []
      }
      if (typeof question['firstAfter'] === 'number') {
        firstAfter.at = question['firstAfter']
        firstAfter.time = undefined
      }
      return Promise.resolve({ calls, last, latency: latencyOf(samples), firstAfter: firstAfter.time })
    },
    () => Promise.resolve(),
  )
})
