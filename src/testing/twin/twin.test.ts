import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { request } from 'undici'
import { afterEach, describe, expect, it } from 'vitest'
import { connectToTwin, createKeyStore, createTwin, repeatedEffects, route, type Twin } from '../index.ts'
import { createFakeClock } from '../fakeClock.ts'

interface Orders {
  readonly made: Map<string, { id: string; item: string }>
}

const running: Twin[] = []

async function startTwin(options: { witnessFile?: string; seed?: string } = {}): Promise<Twin<Orders>> {
  const clock = createFakeClock()
  const keys = createKeyStore({
    clock,
    lifetimeMs: 1000,
    onMismatch: () => ({ status: 400, json: { error: 'other parameters' } }),
    onInFlight: () => ({ status: 409, json: { error: 'in flight' } }),
    replayHeaders: { replayed: 'true' },
  })
  const twin: Twin<Orders> = createTwin<Orders>({
    name: 'shop',
    state: { made: new Map() },
    clock,
    ...options,
    routes: [
      route(
        'POST',
        '/orders',
        (asked) =>
          keys.once(asked, asked.headers['key'], () => {
            const order = { id: twin.newId('ord_'), item: asked.form.get('item') ?? '' }
            asked.state.made.set(order.id, order)
            asked.effect({ kind: 'order.created', key: order.item, ref: order.id, summary: order.item })
            return { status: 201, json: order }
          }),
        { storesAnswers: true },
      ),
      route('GET', '/orders/:id', ({ params, state }) => {
        const order = state.made.get(params['id']!)
        return order ? { status: 200, json: order } : { status: 404, json: { error: 'no such order' } }
      }),
      route('GET', '/broken', () => {
        throw new Error('a mistake in the twin')
      }),
    ],
    actions: { 'make-order': ({ item }: { item: string }) => ({ made: item }) },
  })
  running.push(twin)
  await twin.start()
  return twin
}

afterEach(async () => {
  for (const twin of running.splice(0)) await twin.stop()
})

const order = async (twin: Twin, item = 'tea', headers: Record<string, string> = {}) => {
  const answer = await request(`${twin.url}/orders`, {
    method: 'POST',
    body: new URLSearchParams({ item }).toString(),
    headers: { 'content-type': 'application/x-www-form-urlencoded', ...headers },
  })
  const text = await answer.body.text()
  return { status: answer.statusCode, headers: answer.headers, text }
}

describe('a twin', () => {
  it('answers routes with params and keeps requests and effects', async () => {
    const twin = await startTwin()
    const { id } = JSON.parse((await order(twin)).text) as { id: string }
    const read = await request(`${twin.url}/orders/${id}?expand=all`)
    expect(await read.body.json()).toEqual({ id, item: 'tea' })
    expect(twin.effects()).toMatchObject([
      { number: 1, twin: 'shop', kind: 'order.created', ref: id, request: 1 },
    ])
    expect(twin.requests()).toMatchObject([
      { number: 1, method: 'POST', path: '/orders', body: 'item=tea', status: 201 },
      { number: 2, method: 'GET', query: 'expand=all', status: 200 },
    ])
    expect((await request(`${twin.url}/nowhere`)).statusCode).toBe(404)
  })

  it('has a file of effects that is complete before the answer arrives', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'twin-'))
    const twin = await startTwin({ witnessFile: join(folder, 'effects.jsonl') })
    twin.faults.resetAfterActing(1)
    await expect(order(twin)).rejects.toMatchObject({ code: 'ECONNRESET' })
    await order(twin, 'milk')
    const lines = readFileSync(join(folder, 'effects.jsonl'), 'utf8').trim().split('\n')
    expect(lines.map((line) => (JSON.parse(line) as { key: string }).key)).toEqual(['tea', 'milk'])
    rmSync(folder, { recursive: true })
  })

  it('says when it is itself at fault', async () => {
    const twin = await startTwin()
    expect((await request(`${twin.url}/broken`)).statusCode).toBe(500)
    expect(twin.ownErrors()).toEqual(['GET /broken: a mistake in the twin'])
  })

  it('makes the same ids from the same seed', async () => {
    const [a, b, c] = [
      await startTwin({ seed: 'x' }),
      await startTwin({ seed: 'x' }),
      await startTwin({ seed: 'y' }),
    ]
    expect(a.newId('id_')).toBe(b.newId('id_'))
    expect(a.newId('id_')).not.toBe(c.newId('id_'))
  })
})

describe('faults', () => {
  it('fail, limit and cut as many exchanges as were armed, in order', async () => {
    const twin = await startTwin()
    twin.faults.failNext(1, 500, { body: { error: 'oops' } })
    twin.faults.rateLimit(1, 7)
    twin.faults.resetBeforeActing(1)
    expect(await order(twin)).toMatchObject({ status: 500, text: '{"error":"oops"}' })
    expect(await order(twin)).toMatchObject({ status: 429, headers: { 'retry-after': '7' } })
    await expect(order(twin)).rejects.toMatchObject({ code: 'ECONNRESET' })
    expect(twin.effects()).toHaveLength(0)
    expect((await order(twin)).status).toBe(201)
    expect(twin.requests().map(({ fault }) => fault)).toEqual([
      'fail',
      'rate_limit',
      'reset_before_acting',
      undefined,
    ])
  })

  it('act before the connection is cut when told so', async () => {
    const twin = await startTwin()
    twin.faults.resetAfterActing(1)
    await expect(order(twin)).rejects.toMatchObject({ code: 'ECONNRESET' })
    expect(twin.effects()).toHaveLength(1)
  })

  it('concern only the route that they name', async () => {
    const twin = await startTwin()
    twin.faults.failNext(1, 503, { only: 'GET /orders/:id' })
    expect((await order(twin)).status).toBe(201)
    expect((await request(`${twin.url}/orders/x`)).statusCode).toBe(503)
    expect((await request(`${twin.url}/orders/x`)).statusCode).toBe(404)
  })

  it('spoil answers of exchanges that were done', async () => {
    const twin = await startTwin()
    twin.faults.garbage(1)
    twin.faults.garbage(1, { as: 'truncated' })
    twin.faults.dropField('item', 1)
    twin.faults.addField('surprise', 1)
    expect((await order(twin)).text).toContain('<html>')
    const truncated = await order(twin)
    expect(() => JSON.parse(truncated.text) as unknown).toThrow(SyntaxError)
    expect(JSON.parse((await order(twin)).text)).not.toHaveProperty('item')
    expect(JSON.parse((await order(twin)).text)).toHaveProperty('surprise')
    expect(twin.effects()).toHaveLength(4)
  })

  it('slow an answer down by the clock, acting first or last', async () => {
    const twin = await startTwin()
    const clock = twin.clock as ReturnType<typeof createFakeClock>
    twin.faults.slow(5000, 1)
    twin.faults.slow(5000, 1, { actLate: true })
    const first = order(twin, 'early')
    while (clock.pending() < 1) await new Promise((resolve) => setImmediate(resolve))
    expect(twin.effects()).toHaveLength(1)
    const second = order(twin, 'late')
    while (clock.pending() < 2) await new Promise((resolve) => setImmediate(resolve))
    expect(twin.effects()).toHaveLength(1)
    await clock.advance(5000)
    expect([(await first).status, (await second).status]).toEqual([201, 201])
    expect(twin.effects()).toHaveLength(2)
  })

  it('take the provider down and bring it back at the same port, in three ways', async () => {
    const twin = await startTwin()
    twin.faults.down(true)
    expect((await order(twin)).status).toBe(503)
    twin.faults.down(true, 'reset')
    await expect(order(twin)).rejects.toMatchObject({ code: 'ECONNRESET' })
    twin.faults.down(true, 'refuse')
    await expect(order(twin)).rejects.toMatchObject({ code: 'ECONNREFUSED' })
    twin.faults.down(false)
    await twin.start()
    expect((await order(twin)).status).toBe(201)
  })

  it('come in the same places for the same seed, whatever the order of requests', async () => {
    const items = Array.from({ length: 40 }, (_, i) => `item ${i}`)
    const play = async (seed: string, list: string[]) => {
      const twin = await startTwin({ seed })
      twin.faults.chaos(0.5)
      const hit = new Set<string>()
      for (const item of list) {
        const progress = { over: false }
        void order(twin, item)
          .catch(() => undefined)
          .then(() => {
            progress.over = true
          })
        // A slow answer waits for the fake clock.
        const clock = twin.clock as ReturnType<typeof createFakeClock>
        while (!progress.over) await clock.advance(250)
        const fault = twin.requests().at(-1)?.fault
        if (fault) hit.add(`${item}: ${fault}`)
      }
      return [...hit].sort()
    }
    const there = await play('s', items)
    expect(there.length).toBeGreaterThan(5)
    expect(await play('s', items.toReversed())).toEqual(there)
    expect(await play('t', items)).not.toEqual(there)
  })
})

describe('keys', () => {
  it('give one effect for one key, the stored answer, and an error for other parameters', async () => {
    const twin = await startTwin()
    const first = await order(twin, 'tea', { key: 'k1' })
    const again = await order(twin, 'tea', { key: 'k1' })
    expect(again).toMatchObject({ status: 201, text: first.text, headers: { replayed: 'true' } })
    expect((await order(twin, 'milk', { key: 'k1' })).status).toBe(400)
    expect(repeatedEffects(twin.effects())).toEqual([])
  })

  it('are forgotten after their lifetime, and then the effect is done twice', async () => {
    const twin = await startTwin()
    await order(twin, 'tea', { key: 'k1' })
    await (twin.clock as ReturnType<typeof createFakeClock>).advance(1000)
    await order(twin, 'tea', { key: 'k1' })
    expect(repeatedEffects(twin.effects())).toEqual([{ kind: 'order.created', key: 'tea', times: 2 }])
  })

  it('remember an error from inside', async () => {
    const twin = await startTwin()
    twin.faults.failNext(1, 500, { inside: true })
    expect((await order(twin, 'tea', { key: 'k1' })).status).toBe(500)
    expect((await order(twin, 'tea', { key: 'k1' })).status).toBe(500)
    expect((await order(twin, 'tea', { key: 'k2' })).status).toBe(201)
  })
})

describe('the admin API', () => {
  it('switches faults, reads ledgers and acts from another process', async () => {
    const twin = await startTwin()
    const remote = connectToTwin(twin.url)
    await remote.turn({ down: true })
    expect((await order(twin)).status).toBe(503)
    await remote.turn({ down: false })
    await remote.turn({ arm: { kind: 'fail', status: 418 }, times: 1, only: 'POST /orders' })
    expect((await order(twin)).status).toBe(418)
    await order(twin)
    expect(await remote.effects()).toMatchObject([{ kind: 'order.created' }])
    expect(await remote.effects(1)).toEqual([])
    expect(await remote.requests(2)).toMatchObject([{ number: 3, status: 201 }])
    expect(await remote.act('make-order', { item: 'tea' })).toEqual({ made: 'tea' })
    await expect(remote.act('no-such', {})).rejects.toThrow(/It has: make-order/)
  })
})
