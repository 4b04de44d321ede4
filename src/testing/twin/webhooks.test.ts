import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { turn } from '../../base/index.ts'
import { createFakeClock, type FakeClock } from '../fakeClock.ts'
import { createWebhookSender, type SendingPolicy, type WebhookSender } from './webhooks.ts'

/** A receiver that answers with what stands in `answers`, then 200. */
let server: Server
let url: string
let clock: FakeClock
let answers: (number | 'hang up')[]
let received: { body: string; signature: string | undefined }[]

beforeEach(async () => {
  answers = []
  received = []
  clock = createFakeClock()
  server = createServer((request, response) => {
    let body = ''
    request.on('data', (chunk: Buffer) => {
      body += chunk.toString()
    })
    request.on('end', () => {
      received.push({ body, signature: request.headers['signature'] as string | undefined })
      const answer = answers.shift() ?? 200
      if (answer === 'hang up') response.socket?.resetAndDestroy()
      else response.writeHead(answer, answer === 503 ? { 'retry-after': '7' } : {}).end()
    })
  })
  server.keepAliveTimeout = 0 // Not closed under a request, where the machine stood still before it.
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve)
  })
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/hook`
})
afterEach(async () => {
  server.closeAllConnections()
  await new Promise((resolve) => {
    server.close(resolve)
  })
})

const sender = (policy: SendingPolicy = {}) =>
  createWebhookSender(clock, { retryAfterMs: [1000, 5000], ...policy })
const sign = (body: string, now: number) => ({ headers: { signature: `${body} at ${now}` } })
/** Moves the clock until nothing is under way. */
const settle = async (webhooks: WebhookSender): Promise<void> => {
  const progress = { over: false }
  void webhooks.idle().then(() => {
    progress.over = true
  })
  while (!progress.over) {
    if (clock.pending() > 0) await clock.advance(1000)
    await turn()
  }
}

describe('a provider that sends webhooks', () => {
  it('tries again by its schedule, signs each attempt anew, and writes every answer down', async () => {
    answers = [503, 'hang up', 204]
    const webhooks = sender()
    const startMs = clock.now()
    await webhooks.send({ url, body: 'x', sign, eventId: 'evt_1' })
    await settle(webhooks)
    expect(webhooks.deliveries()).toMatchObject([
      {
        number: 1,
        eventId: 'evt_1',
        state: 'delivered',
        attempts: [
          { number: 1, at: startMs, status: 503, retryAfter: '7' },
          { number: 2, at: startMs + 1000, status: undefined, error: expect.any(String) },
          { number: 3, at: startMs + 6000, status: 204 },
        ],
      },
    ])
    expect(received.map(({ signature }) => signature)).toEqual(
      [0, 1000, 6000].map((ms) => `x at ${startMs + ms}`),
    )
  })

  it('gives up when its attempts are used up, or at an answer that is final for it', async () => {
    answers = [500, 500, 500]
    const patient = sender()
    await patient.send({ url, body: 'x' })
    await settle(patient)
    expect(patient.deliveries()[0]).toMatchObject({ state: 'given_up', attempts: { length: 3 } })
    answers = [401]
    const proud = sender({ finalStatuses: [401] })
    await proud.send({ url, body: 'x' })
    await settle(proud)
    expect(proud.deliveries()[0]).toMatchObject({ state: 'given_up', attempts: { length: 1 } })
  })

  it('ends its retries when it is stopped', async () => {
    answers = [500, 500, 500]
    const webhooks = sender()
    await webhooks.send({ url, body: 'x' })
    webhooks.stop()
    await settle(webhooks)
    expect(webhooks.deliveries()[0]).toMatchObject({ state: 'given_up', attempts: { length: 1 } })
  })

  it('holds later ones back behind a failing one when it sends in order', async () => {
    answers = [500]
    const webhooks = sender({ inOrder: true })
    const first = webhooks.send({ url, body: 'first' })
    const second = webhooks.send({ url, body: 'second' })
    await first
    await clock.advance(0)
    expect(received.map(({ body }) => body)).toEqual(['first'])
    await settle(webhooks)
    await second
    expect(received.map(({ body }) => body)).toEqual(['first', 'first', 'second'])
  })

  it('duplicates, reverses, loses and forges what comes next', async () => {
    const webhooks = sender()
    webhooks.duplicateNext(1, 2)
    await webhooks.send({ url, body: 'a' })
    webhooks.reverseNext(2)
    await Promise.all([webhooks.send({ url, body: 'b' }), webhooks.send({ url, body: 'c' })])
    webhooks.loseNext(1)
    expect(await webhooks.send({ url, body: 'd' })).toBeUndefined()
    webhooks.forgeBeforeNext(1)
    await webhooks.send({ url, body: 'e', sign })
    await webhooks.resend(1)
    await settle(webhooks)
    expect(received.map(({ body }) => body)).toEqual(['a', 'a', 'a', 'c', 'b', 'e', 'e', 'a'])
    expect(webhooks.deliveries().map(({ duplicateOf, forged }) => duplicateOf ?? forged)).toEqual([
      false,
      1,
      1,
      false,
      false,
      true,
      false,
      1,
    ])
    expect(received[5]!.signature).not.toBe(received[6]!.signature)
  })

  it('never tries a forged one again', async () => {
    answers = [500]
    const webhooks = sender()
    await webhooks.send({ url, body: 'x', sign, forged: true })
    await settle(webhooks)
    expect(webhooks.deliveries()).toMatchObject([
      { forged: true, state: 'given_up', attempts: { length: 1 } },
    ])
  })
})
