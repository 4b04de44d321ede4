/**
 * Who may use what: every route of the router is asked with every kind of token that must not do. The list comes from
 * the router itself, so that a new route cannot be forgotten.
 */
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { getRequestListener } from '@hono/node-server'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { acme } from '../../tests/support/engine.ts'
import { DAY, newId } from '../base/index.ts'
import { tenantTables } from '../db/distribute.ts'
import { defineFlow, type AnyFlow, type FlowContext } from '../define/index.ts'
import { mayUse, SCOPE_NAMES, SCOPES, TOKEN_ROLES, type Rights, type Scope } from '../vault/index.ts'
import { buildRouter } from './api.ts'
import { addApi, createRouter, type Router } from './http/router.ts'
import type { AnyRoute } from './http/route.ts'
import { shops } from './providers.fixture.ts'
import { apiRoutes } from './routes/index.ts'
import { openServer, type ServerFixture } from './server.fixture.ts'

const flow = defineFlow({
  name: 'thing-flow',
  on: acme.on('thing.happened'),
  async run({ event, use }: FlowContext) {
    await use(acme).things.create(event.data as Record<string, unknown>)
  },
})

let server: ServerFixture
/** Ids of the tenant `default`, by the beginning of the paths that take one. */
let samples: Readonly<Record<string, string>>
beforeAll(async () => {
  server = await openServer({ flows: [flow as AnyFlow], connectors: [shops] })
  samples = await seed()
})
afterAll(() => server.close())

/** Something of everything that a route can be asked for, of the tenant `default`. */
async function seed(): Promise<Readonly<Record<string, string>>> {
  const { event, runs } = await server.engine.deliver('thing.happened', { n: 1, secretOf: 'default' })
  await server.engine.reached(runs[0]!, 'succeeded')
  const { pool } = server.engine.database
  const { rows } = await pool.query<{ id: string }>(`select id from deliveries where tenant = 'default'`)
  const [incident, quarantined] = [newId('inc'), newId('qrn')]
  await pool.query(
    `insert into incidents (tenant, id, kind, subject, title, what, holds_up, todo, since, opened_at, updated_at)
     values ('default', $1, 'outage', 'secretOf', 'secretOf', '', '', '', now(), now(), now())`,
    [incident],
  )
  await pool.query(
    `insert into quarantine (tenant, id, kind, connection_id, event_id, path, reason)
     values ('default', $1, 'event', 'con_app', $2, '', 'secretOf')`,
    [quarantined, event],
  )
  await pool.query(
    `insert into schedules (tenant, name, kind, declaration) values ('default', 'thing-flow', 'poll', 'secretOf')`,
  )
  const secrets = { clientId: 'id', clientSecret: 'secretOf' }
  await server.vault.addConnection({
    tenant: 'default',
    name: 'shops',
    definition: shops.connect({ secrets }),
    actor: 'operator:test',
  })
  const authorization = await server.vault.authorizations.begin({
    tenant: 'default',
    name: 'shops',
    publicUrl: server.url,
    actor: 'operator:test',
  })
  const token = await make({ role: 'viewer' })
  return {
    '/runs': runs[0]!,
    '/events': event,
    '/deliveries': rows[0]!.id,
    '/incidents': incident,
    '/quarantine': quarantined,
    '/connections': 'app',
    '/authorizations': authorization.id,
    '/schedules': 'thing-flow',
    '/tokens': token.id,
  }
}

/** Bodies of routes that read one before they look for what it is about, and of those that make something. */
const BODIES: Readonly<Record<string, unknown>> = {
  '/runs/{id}/settle': { as: 'undone' },
  '/schedules/{name}/move': { to: 'beginning' },
  '/tokens': { name: 'made on the walk' },
  '/authorizations/{id}/choose': { account: 'any' },
  '/connections/{name}/rotate': { secrets: { apiKey: 'any' } },
  '/connections/{name}/ends': { field: 'apiKey', endsAt: null },
  '/events': { specversion: '1.0', id: '1', source: '/walk', type: 'a.walk' },
}

/** What is answered without a session, and why that is right. */
const OPEN: Readonly<Record<string, string>> = {
  'GET /health': 'the process answers: a load balancer asks',
  'GET /ready': 'whether it takes work: a load balancer asks',
  'GET /oauth/start/:ticket':
    'who authorizes is no user of ours: the address holds 256 random bits, for one browser',
  'GET /oauth/callback/:connector': 'the provider sends a browser there: state and cookie open it, once',
  'POST /oauth/choose': 'the same browser goes on: the cookie opens it',
}
/** Routes of the API for whoever has a token, whatever it may. */
const ANY_TOKEN: Readonly<Record<string, string>> = {
  'GET /api/v1/openapi.json': 'what the API is; it holds nothing of a tenant',
}

const make = (grants: Rights, tenant = 'default') =>
  server.vault.tokens.create({ tenant, name: 'walk', actor: 'operator:test', grants })

const kept = new Map<string, Promise<string>>()
/** A token with these rights, the same each time. */
function tokenWith(rights: Rights): Promise<string> {
  const key = JSON.stringify(rights)
  const token = kept.get(key) ?? make(rights).then((made) => made.token)
  kept.set(key, token)
  return token
}

/** One route as the router has it, and as it was declared. */
interface Walked {
  readonly name: string
  readonly path: string
  readonly method: string
  readonly declared: AnyRoute | undefined
}

function routesOf(router: Router): readonly Walked[] {
  const declared = apiRoutes(server.deps)
  return router.routes
    .filter(({ method }) => method !== 'ALL')
    .map(({ method, path }) => ({
      name: `${method} ${path}`,
      path,
      method,
      declared: declared.find(
        (one) =>
          method === one.method.toUpperCase() &&
          path === `/api/v1${one.path.replaceAll(/\{(\w+)\}/g, ':$1')}`,
      ),
    }))
}

interface Answered {
  readonly status: number
  readonly type: string | null
  readonly code: string | undefined
  readonly challenge: string | null
  readonly text: string
}

async function ask(url: string, route: Walked, token?: string): Promise<Answered> {
  const prefix = Object.keys(samples).find((one) => route.path.startsWith(`/api/v1${one}/:`))
  const path = route.path.replaceAll(/:\w+/g, (prefix && samples[prefix]) ?? 'run_1')
  const body = route.declared && BODIES[route.declared.path]
  const answer = await fetch(url + path, {
    method: route.method,
    redirect: 'manual',
    headers: {
      ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
      'content-type':
        route.declared?.raw === undefined ? 'application/json' : Object.keys(route.declared.raw)[0]!,
    },
    ...(route.method === 'POST' ? { body: JSON.stringify(body ?? {}) } : {}),
  })
  const text = await answer.text()
  const type = answer.headers.get('content-type')
  const code = type === 'application/problem+json' ? (JSON.parse(text) as { code: string }).code : undefined
  return { status: answer.status, type, code, challenge: answer.headers.get('www-authenticate'), text }
}

/** What is wrong with an answer that must be this problem, and say what to do; `undefined`: nothing. */
function misses(answer: Answered, status: number, code: string): string | undefined {
  if (answer.status !== status || answer.code !== code)
    return `answers ${answer.status} ${answer.code ?? answer.text.slice(0, 80)}, not ${status} ${code}`
  const { detail } = JSON.parse(answer.text) as { detail: string }
  const saysWhatToDo = /\b(make|send|list|see|use|check)\b/i.test(detail)
  if (!saysWhatToDo) return `does not say what to do: ${detail}`
  return (status === 401 || code === 'scope_missing') && answer.challenge === null
    ? 'gives no challenge'
    : undefined
}

/** The nearest rights that are not enough: the role below, or the whole role without this one scope. */
function almost(scope: Scope): readonly Rights[] {
  const below = TOKEN_ROLES.filter((role) => !mayUse({ role }, scope)).at(-1)
  const without: Rights = { role: 'admin', scopes: SCOPE_NAMES.filter((one) => one !== scope) }
  return below === undefined ? [without] : [{ role: below }, without]
}

/** Asks every route with every token that must not do, and gives what is wrong with the answers. */
async function walk(url: string, router: Router): Promise<readonly string[]> {
  const bad = await badTokens()
  const found: string[] = []
  for (const route of routesOf(router)) {
    const say = (what: string, miss: string | undefined): unknown =>
      miss !== undefined && found.push(`${route.name} with ${what}: ${miss}`)
    if (!route.path.startsWith('/api/')) {
      if (OPEN[route.name] !== undefined) continue
      const { status, text } = await ask(url, route)
      say('no session', status === 401 && text.includes('Sign in') ? undefined : `answers ${status}`)
      continue
    }
    for (const { what, token, code } of bad) say(what, misses(await ask(url, route, token), 401, code))
    if (ANY_TOKEN[route.name] !== undefined) continue
    if (route.declared === undefined) {
      say('any token', 'is not declared, so nothing says who may use it')
      continue
    }
    for (const rights of almost(route.declared.needs.scope)) {
      const token = await tokenWith(rights)
      say(`the rights of ${rights.role}`, misses(await ask(url, route, token), 403, 'scope_missing'))
    }
  }
  return found
}

async function badTokens(): Promise<readonly { what: string; token?: string; code: string }[]> {
  const { tokens } = server.vault
  const [expired, revoked] = [await make({ role: 'admin' }), await make({ role: 'admin' })]
  await tokens.rotate('default', expired.id, { actor: 'operator:test', overlapMs: 0 })
  await tokens.revoke('default', revoked.id, 'operator:test')
  return [
    { what: 'no token', code: 'token_missing' },
    { what: 'a made-up token', token: `trs_${'A'.repeat(43)}`, code: 'token_invalid' },
    { what: 'an expired token', token: expired.token, code: 'token_expired' },
    { what: 'a revoked token', token: revoked.token, code: 'token_revoked' },
  ]
}

const ownRouter = (): Router => buildRouter({ ...server.deps, stopping: () => false }).router

/** Everything that a tenant has, as text. Tokens are left out: the walk itself makes them. */
async function stateOf(tenant: string): Promise<string> {
  const { pool } = server.engine.database
  const tables = (await tenantTables(pool)).filter((table) => table !== 'tokens' && table !== 'ledger')
  const texts = await Promise.all(
    tables.map(async (table) => {
      const { rows } = await pool.query<{ row: string }>(
        `select t::text as row from ${table} t where tenant = $1 order by 1`,
        [tenant],
      )
      return `${table}\n${rows.map(({ row }) => row).join('\n')}`
    }),
  )
  return texts.join('\n\n')
}

/** What of the tenant `default` stands in an answer. */
function ownIn(text: string): readonly string[] {
  return [...Object.values(samples).map((id) => `"${id}"`), 'secretOf'].filter((one) => text.includes(one))
}

describe('every route', () => {
  it('refuses no token, a made-up, an expired and a revoked one, and one that may everything but this', async () => {
    expect(routesOf(ownRouter()).length).toBeGreaterThan(40)
    const before = await stateOf('default')
    expect(await walk(server.url, ownRouter())).toEqual([])
    expect(await stateOf('default')).toBe(before)
  })

  it('shows the wrong tenant nothing, and lets it change nothing', async () => {
    const before = await stateOf('default')
    const wrong: string[] = []
    const answers: Record<string, number> = {}
    for (const route of routesOf(ownRouter())) {
      const { declared } = route
      if (declared === undefined) continue
      const answer = await ask(server.url, route, server.foreignToken)
      answers[route.name] = answer.status
      const miss = declared.needs.wholeInstallation
        ? misses(answer, 403, 'tenant_forbidden')
        : route.path.includes(':')
          ? misses(answer, 404, 'not_found')
          : answer.status >= 500 || answer.status === 403 || answer.status === 401
            ? `answers ${answer.status} ${answer.code ?? ''}`
            : undefined
      if (miss !== undefined) wrong.push(`${route.name}: ${miss}`)
      // A 404 names what was asked for; anything else may hold nothing of another tenant.
      const shown = ownIn(answer.text)
      if (answer.status !== 404 && shown.length > 0) wrong.push(`${route.name}: shows ${shown.join(', ')}`)
    }
    expect(wrong).toEqual([])
    expect(await stateOf('default')).toBe(before)
    // The walk met what it is for, each kind often enough.
    const statuses = Object.values(answers)
    expect(statuses.filter((status) => status === 404).length).toBeGreaterThan(15)
    expect(statuses.filter((status) => status === 200).length).toBeGreaterThan(12)
  })

  it('control: shows the same to its own tenant, so that there was something to see', async () => {
    let seen = 0
    for (const route of routesOf(ownRouter())) {
      if (route.declared === undefined || route.method !== 'GET') continue
      const answer = await ask(server.url, route, server.token)
      expect([route.name, answer.status]).toEqual([route.name, 200])
      if (ownIn(answer.text).length > 0) seen++
    }
    expect(seen).toBeGreaterThan(12)
  })

  it('lets in who has its scope and nothing else', async () => {
    for (const route of routesOf(ownRouter())) {
      if (route.declared === undefined) continue
      const { scope } = route.declared.needs
      const token = await tokenWith({ role: SCOPES[scope].role, scopes: [scope] })
      const { status, code } = await ask(server.url, route, token)
      const isIn = status < 500 && status !== 401 && code !== 'scope_missing'
      expect([route.name, status, code, isIn]).toEqual([route.name, status, code, true])
    }
  })
})

describe('control: the walk notices', () => {
  /** The walk over a server that has these routes besides. */
  async function walkWith(add: (router: Router) => void): Promise<readonly string[]> {
    const router = ownRouter()
    add(router)
    return walkOver(router)
  }

  async function walkOver(router: Router): Promise<readonly string[]> {
    const listen = getRequestListener((request, env) => router.fetch(request, env))
    const listener = createServer((request, response) => void listen(request, response))
    listener.keepAliveTimeout = 0 // Not closed under a request, where the machine stood still before it.
    await new Promise<void>((resolve) => listener.listen(0, '127.0.0.1', resolve))
    try {
      return await walk(`http://127.0.0.1:${(listener.address() as AddressInfo).port}`, router)
    } finally {
      listener.closeAllConnections()
      await new Promise((resolve) => listener.close(resolve))
    }
  }

  it('a route that was added past the declarations, and so has no role', async () => {
    const found = await walkWith((router) => router.get('/api/v1/rogue', (context) => context.text('hello')))
    expect(found).toEqual([
      'GET /api/v1/rogue with any token: is not declared, so nothing says who may use it',
    ])
  })

  it('a route outside of the API that nobody guards', async () => {
    const found = await walkWith((router) => router.get('/rogue', (context) => context.text('hello')))
    expect(found).toEqual(['GET /rogue with no session: answers 200'])
  })

  it('a route whose need is not looked at', async () => {
    const { method, path, ...rest } = apiRoutes(server.deps).find((one) => one.path === '/budgets')!
    // Asked before the guarded one, with a declaration of the same path.
    const router = createRouter(server.deps)
    router.get(`/api/v1${path}`, (context) => context.json({ items: [] }))
    addApi(router, [{ method, path, ...rest }], server.deps)
    const found = await walkOver(router)
    expect(found.length).toBeGreaterThan(4)
    expect(found.join()).toContain('GET /api/v1/budgets with no token: answers 200')
  })

  it('nothing of a route that says no need: such an API does not start', () => {
    const { needs: _needs, ...open } = apiRoutes(server.deps)[0]!
    expect(() => addApi(createRouter(server.deps), [open as AnyRoute], server.deps)).toThrow(
      /POST \/events does not say who may use it/,
    )
  })
})

describe('a token over HTTP', () => {
  const auth = (token: string) => ({ authorization: `Bearer ${token}` })

  it('is made, used, rotated and revoked, each in the ledger under the token and role that did it', async () => {
    const admin = await make({ role: 'admin' })
    const wish = { name: 'ci', scopes: ['runs:retry', 'runs:read'], expiresIn: '30d' }
    const made = await server.post('/api/v1/tokens', wish, auth(admin.token))
    expect(made.json).toMatchObject({ role: 'operator', scopes: ['runs:read', 'runs:retry'], narrowed: true })
    const used = await server.get('/api/v1/runs', auth(made.json.token))
    expect([used.status, used.headers.get('trestle-token-expires')]).toEqual([200, made.json.expiresAt])
    expect((await server.get('/api/v1/events', auth(made.json.token))).json).toMatchObject({
      code: 'scope_missing',
      detail: expect.stringContaining('trestle tokens create NAME --role viewer --scope events:read'),
    })
    const rotated = await server.post(
      `/api/v1/tokens/${made.json.id}/rotate`,
      { overlap: '1h' },
      auth(admin.token),
    )
    expect((await server.get('/api/v1/runs', auth(rotated.json.made.token))).status).toBe(200)
    expect((await server.get('/api/v1/runs', auth(made.json.token))).status).toBe(200)
    await server.post(`/api/v1/tokens/${made.json.id}/revoke`, {}, auth(admin.token))
    expect((await server.get('/api/v1/runs', auth(made.json.token))).json.code).toBe('token_revoked')
    const { items } = (await server.get('/api/v1/tokens', auth(admin.token))).json
    expect(items.find((one: { id: string }) => one.id === made.json.id)).toMatchObject({
      state: 'revoked',
      start: made.json.token.slice(0, 10),
      replacedBy: rotated.json.made.id,
      createdBy: `token:${admin.id}/admin`,
    })
    const { rows } = await server.engine.database.pool.query(
      `select action, actor from ledger where target = $1 order by id`,
      [made.json.id],
    )
    const actor = `token:${admin.id}/admin`
    expect(rows).toEqual([
      { action: 'token.created', actor },
      { action: 'token.rotated', actor },
      { action: 'token.revoked', actor },
    ])
  })

  it('gives no more than it has, nor for longer', async () => {
    const less = await make({ role: 'admin', scopes: ['tokens:write', 'runs:read'] })
    const post = (body: unknown, token: string) => server.post('/api/v1/tokens', body, auth(token))
    expect((await post({ name: 'ok', scopes: ['runs:read'] }, less.token)).status).toBe(200)
    for (const more of [{ role: 'admin' }, { scopes: ['runs:retry'] }, {}])
      expect((await post({ name: 'more', ...more }, less.token)).json).toMatchObject({
        status: 403,
        code: 'token_rights_beyond',
      })
    const strong = await make({ role: 'developer' })
    const rotated = await server.post(`/api/v1/tokens/${strong.id}/rotate`, {}, auth(less.token))
    expect(rotated.json.code).toBe('token_rights_beyond')
    const short = await server.vault.tokens.create({
      tenant: 'default',
      name: 'short',
      actor: 'operator:test',
      grants: { role: 'admin' },
      lifeMs: DAY,
    })
    expect((await post({ name: 'for ever' }, short.token)).status).toBe(403)
    expect((await post({ name: 'an hour', expiresIn: '1h' }, short.token)).status).toBe(200)
  })

  it.each([
    [{ name: 'x', role: 'owner' }, '/role'],
    [{ name: 'x', scopes: ['runs:fly'] }, '/scopes/0'],
    [{ name: 'x', scopes: [] }, '/scopes'],
    [{ name: 'x', expiresIn: 'soon' }, '/expiresIn'],
    [{ name: '' }, '/name'],
  ])('is not made of %j', async (wish, at) => {
    const { json } = await server.post('/api/v1/tokens', wish)
    expect(json).toMatchObject({ status: 400, errors: [expect.objectContaining({ at })] })
  })

  it('without live:read does not open the live page', async () => {
    const enter = (token: string) =>
      fetch(`${server.url}/live/enter`, { method: 'POST', body: new URLSearchParams({ token }) })
    expect((await enter((await make({ role: 'viewer' })).token)).status).toBe(200)
    expect((await enter((await make({ role: 'viewer', scopes: ['runs:read'] })).token)).status).toBe(401)
  })
})
