import { afterAll, beforeAll, expect, it } from 'vitest'
import { readHolds, type Hold } from '../operator/index.ts'
import { openServer, type ServerFixture } from './server.fixture.ts'

let server: ServerFixture
let open: Hold | undefined
beforeAll(async () => {
  server = await openServer({ idle: true, over: { openHold: () => open } })
})
afterAll(() => server.close())

it('a hold is begun, shown and released over the API, and /ready says it while what comes in is taken', async () => {
  expect((await server.get('/api/v1/hold')).json).toMatchObject({ inHold: false, hold: null, counts: [] })
  expect((await server.post('/api/v1/hold/release')).json).toMatchObject({
    status: 409,
    code: 'state_conflict',
  })

  const begun = await server.post('/api/v1/hold', {
    reason: 'The disk was replaced.',
    restored: { from: '2026-11-22T13:00:00Z', to: '2026-11-22T14:00:00Z' },
  })
  expect(begun).toMatchObject({ status: 200, json: { id: expect.stringMatching(/^hld_/) } })
  expect((await server.post('/api/v1/hold')).json).toMatchObject({ status: 409, code: 'state_conflict' })
  open = (await readHolds(server.deps.database.pool)).open
  expect((await server.get('/ready')).json).toEqual({
    status: 'ready',
    hold: { kind: 'restored', since: open!.beganAt.toISOString() },
  })
  const emitted = await server.post('/api/v1/events', { type: 'nobody.waits', data: {} })
  expect(emitted.status).toBeLessThan(500)
  expect((await server.get('/api/v1/hold')).json).toMatchObject({
    inHold: true,
    hold: {
      kind: 'restored',
      reason: 'The disk was replaced.',
      beganBy: expect.stringMatching(/^token:/),
      lostFrom: '2026-11-22T13:00:00.000Z',
      lostTo: '2026-11-22T14:00:00.000Z',
    },
    unknownSince: expect.arrayContaining([expect.objectContaining({ connection: 'app' })]),
  })

  expect((await server.post('/api/v1/hold/release')).json).toEqual({ released: [open!.id] })
  expect((await server.get('/api/v1/hold')).json).toMatchObject({ inHold: false })
})

it('refuses a lost time that ends before it begins, and times without a zone', async () => {
  const backwards = await server.post('/api/v1/hold', {
    restored: { from: '2026-11-22T14:00:00Z', to: '2026-11-22T13:00:00Z' },
  })
  expect(backwards.json).toMatchObject({ status: 400, code: 'lost_time_invalid' })
  const vague = await server.post('/api/v1/hold', { restored: { from: '2026-11-22 14:00' } })
  expect(vague.json).toMatchObject({ status: 400, code: 'body_invalid' })
})
