/**
 * A provider that enforces its limits strictly, by the log of what it let through in each window, wherever that
 * begins. A foreign client with the same credential may take a part of them.
 */
import { createServer, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { argument, serveParent } from './child.ts'
import { round } from './histogram.ts'

interface Limit {
  readonly name: string
  readonly allowed: number
  readonly windowMs: number
}

interface Log {
  readonly limit: Limit
  readonly times: number[]
  /** Where the window that ends now begins in it. */
  from: number
}

const { limits } = argument<{ limits: Limit[] }>()
let logs: Log[] = []
let counts = { ours: 0, limited: 0, foreign: 0, foreignLimited: 0 }
let waits: number[] = []
let measuredFrom = 0
let foreignPerSecond = 0
let tells = true
let made = 0

/** What each limit would have left if it let one more through, and whether all do. */
function letThrough(): { readonly ok: boolean; readonly left: readonly number[] } {
  const now = performance.now()
  const left = logs.map((log) => {
    while (log.from < log.times.length && log.times[log.from]! <= now - log.limit.windowMs) log.from++
    return log.limit.allowed - (log.times.length - log.from) - 1
  })
  const ok = left.every((points) => points >= 0)
  if (ok) for (const log of logs) log.times.push(now)
  return { ok, left: left.map((points) => Math.max(0, points)) }
}

function answer(response: ServerResponse, url: string, body: string): void {
  const { ok, left } = letThrough()
  if (ok) counts.ours++
  else counts.limited++
  response.setHeader('content-type', 'application/json')
  if (tells) {
    response.setHeader('ratelimit', limits.map(({ name }, i) => `"${name}";r=${left[i]}`).join(', '))
    response.setHeader(
      'ratelimit-policy',
      limits.map(({ name, allowed, windowMs }) => `"${name}";q=${allowed};w=${windowMs / 1000}`).join(', '),
    )
  }
  if (!ok) {
    response.setHeader('retry-after', '1')
    response.statusCode = 429
    return void response.end('{"error":"too many requests"}')
  }
  const { sentAt } = JSON.parse(body === '' ? '{}' : body) as { sentAt?: number }
  if (url === '/v1/invoices' && sentAt !== undefined && sentAt >= measuredFrom)
    waits.push(performance.timeOrigin + performance.now() - sentAt)
  response.end(`{"id":"obj_${++made}","ok":true}`)
}

function waitsOf(): { readonly count: number; readonly p95: number } {
  const sorted = Float64Array.from(waits).sort()
  const p95 = sorted[Math.floor(0.95 * sorted.length)] ?? Number.NaN
  return { count: sorted.length, p95: round(p95, 0) }
}

function takeAsForeign(due: number): void {
  if (foreignPerSecond === 0) return
  if (letThrough().ok) counts.foreign++
  else counts.foreignLimited++
  const next = due + 1000 / foreignPerSecond
  setTimeout(() => takeAsForeign(next), Math.max(0, next - performance.now()))
}

const server = createServer((request, response) => {
  const chunks: Buffer[] = []
  request.on('data', (chunk: Buffer) => chunks.push(chunk))
  request.on('end', () => answer(response, request.url ?? '', Buffer.concat(chunks).toString()))
})
server.keepAliveTimeout = 60_000
server.listen(0, '127.0.0.1', () => {
  serveParent(
    { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}` },
    (question) => {
      if (question['reset'] === true) {
        counts = { ours: 0, limited: 0, foreign: 0, foreignLimited: 0 }
        waits = []
        measuredFrom = performance.timeOrigin + performance.now()
      }
      if (typeof question['foreignPerSecond'] === 'number') {
        logs = limits.map((limit) => ({ limit, times: [], from: 0 }))
        foreignPerSecond = question['foreignPerSecond']
        tells = question['tells'] !== false
        takeAsForeign(performance.now())
      }
      return Promise.resolve({ ...counts, waits: waitsOf() })
    },
    () => Promise.resolve(),
  )
})
