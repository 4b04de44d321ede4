import { connect } from 'node:net'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createFakeClock } from '../testing/fakeClock.ts'
import { buildRouter } from './api.ts'
import { answerReady } from './http/readiness.ts'
import { openServer, type ServerFixture } from './server.fixture.ts'

let server: ServerFixture
beforeAll(async () => {
  server = await openServer({ idle: true })
})
afterAll(() => server.close())

/** Every route, by its method and a path that it matches. */
function everyRoute(): { method: string; path: string }[] {
  const { router } = buildRouter({ ...server.deps, stopping: () => false })
  return router.routes
    .filter((route) => route.method !== 'ALL')
    .map(({ method, path }) => ({ method, path: path.replaceAll(/:\w+/g, 'run_1') }))
}

/** Open by design; access.test.ts says why. */
const PUBLIC = ['/health', '/ready', '/oauth/start/run_1', '/oauth/callback/run_1', '/oauth/choose']
const isPublic = ({ path }: { path: string }): boolean => PUBLIC.includes(path)

describe('whoever has no token', () => {
  it('is answered by health and readiness', async () => {
    for (const path of ['/health', '/ready'])
      expect(await fetch(server.url + path).then(({ status }) => status)).toBe(200)
  })

  const ask = ({ method, path }: { method: string; path: string }): Promise<Response> =>
    fetch(server.url + path, {
      method,
      ...(method === 'POST' ? { body: 'token=trs_x', headers: { 'content-type': 'text/plain' } } : {}),
    })

  it('gets 401 and a challenge from every route of the API', async () => {
    const routes = everyRoute().filter(({ path }) => path.startsWith('/api/'))
    expect(routes.length).toBeGreaterThan(20)
    for (const route of routes) {
      const answer = await ask(route)
      expect([route, answer.status, answer.headers.get('www-authenticate')]).toEqual([
        route,
        401,
        'Bearer realm="trestle"',
      ])
      expect(answer.headers.get('content-type')).toBe('application/problem+json')
    }
  })

  it('gets the page to sign in, and 401, from every other route', async () => {
    const routes = everyRoute().filter((route) => !isPublic(route) && !route.path.startsWith('/api/'))
    expect(routes.length).toBeGreaterThan(6)
    for (const route of routes) {
      const answer = await ask(route)
      expect([route, answer.status]).toEqual([route, 401])
      expect(await answer.text()).toContain('Sign in')
    }
  })

  it('does not learn from a 404 what paths there are', async () => {
    expect((await fetch(`${server.url}/api/v1/nothing`)).status).toBe(401)
  })

  it.each([
    ['an unknown token', 'Bearer trs_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA'],
    ['no token at all', 'Bearer '],
    ['another scheme', 'Basic dXNlcjpwYXNz'],
  ])('gets 401 with %s, and a challenge that says so', async (_, authorization) => {
    const answer = await server.get('/api/v1/runs', { authorization })
    expect(answer.status).toBe(401)
    expect(answer.headers.get('www-authenticate')).toContain('error="invalid_token"')
    expect(answer.json).toMatchObject({ code: 'token_invalid', status: 401 })
  })

  it('gets 401 with a token that was revoked', async () => {
    const made = await server.vault.tokens.create({
      tenant: 'default',
      name: 'short',
      actor: 'operator:test',
    })
    const headers = { authorization: `Bearer ${made.token}` }
    expect((await server.get('/api/v1/runs', headers)).status).toBe(200)
    await server.vault.tokens.revoke('default', made.id, 'operator:test')
    expect((await server.get('/api/v1/runs', headers)).status).toBe(401)
  })
})

describe('an error', () => {
  it('is a problem with a code and what to do', async () => {
    const answer = await server.get('/api/v1/runs/run_none')
    expect(answer.headers.get('content-type')).toBe('application/problem+json')
    expect(answer.json).toEqual({
      type: 'about:blank',
      title: 'Not Found',
      status: 404,
      code: 'not_found',
      detail: 'There is no run run_none. List them with GET /api/v1/runs.',
    })
  })

  it('is 404 for a path that is not there, and 405 where only the method is wrong', async () => {
    expect((await server.get('/api/v1/nothing')).json).toMatchObject({ status: 404, code: 'not_found' })
    const wrong = await server.get('/api/v1/runs/run_1/retry')
    expect(wrong.status).toBe(405)
    expect(wrong.headers.get('allow')).toBe('POST')
    const events = await fetch(`${server.url}/api/v1/events`, {
      method: 'DELETE',
      headers: { authorization: `Bearer ${server.token}` },
    })
    expect([events.status, events.headers.get('allow')]).toEqual([405, 'POST, GET, HEAD'])
  })

  it.each([
    ['/api/v1/runs?limit=0', 'limit'],
    ['/api/v1/runs?limit=201', 'limit'],
    ['/api/v1/runs?state=odd', 'state'],
    ['/api/v1/runs?colour=red', 'colour'],
    ['/api/v1/runs?order=random', 'order'],
    ['/api/v1/runs?__proto__=1', '__proto__'],
  ])('says which parameter of %s is wrong', async (path, name) => {
    const answer = await server.get(path)
    expect(answer.json).toMatchObject({ status: 400, code: 'parameter_invalid' })
    expect(answer.json.errors[0].at).toContain(name)
  })

  it('is 400 for a cursor that was not given out', async () => {
    for (const path of ['events', 'runs', 'ledger'])
      expect((await server.get(`/api/v1/${path}?cursor=abc`)).json).toMatchObject({
        status: 400,
        code: 'cursor_invalid',
      })
  })

  it.each([
    ['{"repeatEffects":', 'json_malformed', ''],
    ['{"repeatEffects":true,"repeatEffects":false}', 'json_duplicate_key', '/repeatEffects'],
    ['{"__proto__":{"repeatEffects":true}}', 'json_proto_key', '/__proto__'],
    ['{"repeatEffects":"yes"}', 'body_invalid', '/repeatEffects'],
    ['{"repeat":true}', 'body_invalid', '/repeat'],
    ['['.repeat(70) + ']'.repeat(70), 'json_too_deep', ''],
  ])('says where the body %.40s is wrong', async (body, code, at) => {
    const answer = await server.post('/api/v1/runs/run_1/replay', body)
    expect(answer.json).toMatchObject({ status: 400, code })
    expect(answer.json.errors[0].at).toBe(at)
  })

  it('is 415 for a body of another type or a compressed one', async () => {
    const typed = await server.post('/api/v1/runs/run_1/replay', '{}', { 'content-type': 'text/plain' })
    expect(typed.json).toMatchObject({ status: 415, code: 'content_type_unsupported' })
    expect(typed.headers.get('accept')).toBe('application/json')
    const packed = await server.post('/api/v1/runs/run_1/replay', '{}', { 'content-encoding': 'gzip' })
    expect(packed.json).toMatchObject({ status: 415, code: 'content_encoding_unsupported' })
  })

  it('is 413 for a body that is too large, on every route, whether its length is said or not', async () => {
    for (const { method, path } of everyRoute().filter(({ path }) => path.startsWith('/api/v1/'))) {
      if (path.endsWith('openapi.json')) continue
      for (const framing of ['content-length: 2000000', 'transfer-encoding: chunked'])
        expect([method, path, framing, await sendLarge(method, path, framing)]).toEqual([
          method,
          path,
          framing,
          413,
        ])
    }
  })

  it('tells nothing of a fault of ours, and reports it', async () => {
    const faults: unknown[] = []
    const broken = await openServer({
      idle: true,
      over: {
        onFault: (_, error) => faults.push(error),
        testConnection: () => Promise.reject(new TypeError('password=hunter2')),
      },
    })
    try {
      const answer = await broken.post('/api/v1/connections/app/test')
      expect(answer.json).toMatchObject({ status: 500, code: 'internal_error' })
      expect(answer.text).not.toContain('hunter2')
      expect(faults).toHaveLength(1)
    } finally {
      await broken.close()
    }
  })
})

/** Sends a body of 2 MB over a socket of its own; gives the status. */
function sendLarge(method: string, path: string, framing: string): Promise<number> {
  return new Promise((resolve, reject) => {
    const { port, hostname } = new URL(server.url)
    const socket = connect(Number(port), hostname)
    const chunk = Buffer.alloc(100_000, 0x20)
    socket.on('error', reject)
    socket.on('data', (data) => {
      socket.destroy()
      resolve(Number(data.toString().split(' ', 2)[1]))
    })
    socket.write(
      `${method} ${path} HTTP/1.1\r\nhost: ${hostname}:${port}\r\nauthorization: Bearer ${server.token}\r\ncontent-type: application/json\r\n${framing}\r\n\r\n`,
    )
    for (let i = 0; i < 20; i++)
      if (framing.startsWith('transfer'))
        socket.write(Buffer.concat([Buffer.from('186a0\r\n'), chunk, Buffer.from('\r\n')]))
      else socket.write(chunk)
  })
}

describe('readiness', () => {
  it('is 503 with the reason where the database is away', async () => {
    const clock = createFakeClock()
    const database = { query: () => Promise.reject(new Error('connect ECONNREFUSED 10.0.0.1:5432')) }
    const answer = await answerReady({ database, clock, stopping: () => false })
    expect(answer.status).toBe(503)
    const text = await answer.text()
    expect(JSON.parse(text)).toMatchObject({ reasons: [{ code: 'database_unavailable' }] })
    expect(text).not.toContain('10.0.0.1')
  })

  it('is 503 after 500 ms where the database hangs', async () => {
    const clock = createFakeClock()
    const asked = answerReady({
      database: { query: () => new Promise(() => {}) },
      clock,
      stopping: () => false,
    })
    let answered = false
    void asked.then(() => (answered = true))
    await clock.advance(499)
    expect(answered).toBe(false)
    await clock.advance(1)
    expect((await asked).status).toBe(503)
  })

  it('is 503 where migrations are missing, and where the node stops', async () => {
    const clock = createFakeClock()
    const { pool } = server.engine.database
    const missing = { query: () => Promise.resolve({ rows: [{ there: false }] }) as never }
    expect(
      await (await answerReady({ database: missing, clock, stopping: () => false })).json(),
    ).toMatchObject({
      reasons: [{ code: 'migrations_missing', reason: expect.stringContaining('0001-initial') }],
    })
    expect(await (await answerReady({ database: pool, clock, stopping: () => true })).json()).toMatchObject({
      reasons: [{ code: 'stopping' }],
    })
  })

  it('says stopping once the server closes', async () => {
    const closing = await openServer({ idle: true })
    await closing.api.close()
    expect((await closing.get('/ready')).json).toMatchObject({ reasons: [{ code: 'stopping' }] })
    await closing.close()
  })
})

describe('a database that is away', () => {
  it('is 503 with Retry-After for who lists, and says nothing of where it is', async () => {
    const away = await openServer({ idle: true })
    try {
      await away.get('/api/v1/runs') // The token is known from here on.
      const pool = {
        query: () =>
          Promise.reject(Object.assign(new Error('connect ECONNREFUSED 10.0.0.1'), { code: 'ECONNREFUSED' })),
      }
      const { router } = buildRouter({
        ...away.deps,
        database: { pool: pool as never },
        stopping: () => false,
      })
      const answer = await router.request(
        '/api/v1/runs',
        { headers: { authorization: `Bearer ${away.token}` } },
        { incoming: emptyRequest() },
      )
      expect(answer.status).toBe(503)
      expect(answer.headers.get('retry-after')).toBe('5')
      expect(await answer.json()).toMatchObject({
        code: 'database_unavailable',
        detail: 'The database cannot be used now. Try again.',
      })
    } finally {
      await away.close()
    }
  })
})

function emptyRequest(): unknown {
  return {
    headers: {},
    on(name: string, told: () => void) {
      if (name === 'end') told()
      return this
    },
  }
}
