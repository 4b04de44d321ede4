/**
 * Whatever a token changes is on the record: every route that changes something writes one entry under the token and
 * its role, in the transaction of the change. The list comes from the router, so that a new route cannot be forgotten.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { acme, doubted, exchange, failedFor, made } from '../../tests/support/engine.ts'
import { newId, type RunId } from '../base/index.ts'
import type { CallOutcome, CallRequest } from '../calls/index.ts'
import { tenantTables } from '../db/distribute.ts'
import { defineFlow, type AnyConnector, type AnyFlow, type FlowContext } from '../define/index.ts'
import { SCOPES, type Scope } from '../vault/index.ts'
import { buildRouter } from './api.ts'
import { choosing, keyed, sendToShops, shops } from './providers.fixture.ts'
import { apiRoutes } from './routes/index.ts'
import { openServer, type Answer, type ServerFixture } from './server.fixture.ts'

const versioned = (version: number): AnyFlow =>
  defineFlow({
    name: 'thing-flow',
    version,
    on: acme.on('thing.happened'),
    async run({ event, use, sleep }: FlowContext) {
      const { what } = event.data as { what: string }
      const { things } = use(acme)
      await (what === 'doubt' ? things.post({}) : things.create({ what }))
      if (what === 'sleep') await sleep('1 day')
    },
  }) as AnyFlow

function call({ operationName, input }: CallRequest): CallOutcome {
  if (operationName === 'things.post') return doubted()
  const { what } = input as { what?: string }
  if (what === 'fail') return failedFor('refused', false)
  if (what !== 'odd') return made()
  const odd = {
    as: 'quarantined',
    path: '/a',
    reason: 'is no number',
    payload: Buffer.from('{"a":1}'),
    exchange,
  }
  return odd as unknown as CallOutcome
}

let server: ServerFixture
beforeAll(async () => {
  server = await openServer({
    flows: [versioned(1), versioned(2)],
    call,
    connectors: [keyed, shops],
    send: sendToShops,
  })
  // From here on the ledger can be told to take nothing that a token did.
  await query(`create function refuse_tokens() returns trigger language plpgsql as $$ begin
    if new.actor like 'token:%' and exists (select 1 from installation where name = 'test:refuse')
    then raise exception 'the ledger takes nothing'; end if; return new; end $$`)
  await query(
    'create trigger refuse_tokens before insert on ledger for each row execute function refuse_tokens()',
  )
})
afterAll(() => server.close())

const query = async <Row extends object>(text: string, values?: unknown[]): Promise<readonly Row[]> =>
  (await server.engine.database.pool.query<Row>(text, values)).rows

interface Prepared {
  readonly path: string
  readonly body?: unknown
}
interface Case {
  /** Makes something that the route can be used on. */
  readonly prepare: () => Promise<Prepared>
  /** What the ledger calls it. */
  readonly action: string
}

const deliver = (what: string) => server.engine.deliver('thing.happened', { n: 1, what })
async function runIn(
  what: string,
  state: 'dead_lettered' | 'waiting' | 'succeeded' | 'held',
): Promise<RunId> {
  const { runs } = await deliver(what)
  await server.engine.reached(runs[0]!, state)
  return runs[0]!
}
/** A run whose answer was kept back. */
async function quarantinedAnswer(): Promise<string> {
  const run = await runIn('odd', 'held')
  const [row] = await query<{ id: string }>('select id from quarantine where run_id = $1', [run])
  return row!.id
}
async function schedule(): Promise<string> {
  const name = `poll-${newId('tok').slice(4)}`
  await query(
    `insert into schedules (tenant, name, kind, declaration, position) values ('default', $1, 'poll', '', '{}')`,
    [name],
  )
  return name
}
async function incident(): Promise<string> {
  const id = newId('inc')
  await query(
    `insert into incidents (tenant, id, kind, subject, title, what, holds_up, todo, since, opened_at, updated_at)
     values ('default', $1, 'outage', $1, '', '', '', '', now(), now(), now())`,
    [id],
  )
  return id
}
const token = async (): Promise<string> =>
  (await server.vault.tokens.create({ tenant: 'default', name: 'x', actor: 'operator:test' })).id
/** A connection of its own; gives its name. */
async function connection(
  connector: AnyConnector,
  secrets: Readonly<Record<string, string>>,
): Promise<string> {
  const name = `c-${newId('tok').slice(4).toLowerCase()}`
  const definition = connector.connect({ secrets })
  await server.vault.addConnection({ tenant: 'default', name, definition, actor: 'operator:test' })
  return name
}
const withKey = (): Promise<string> => connection(keyed, { apiKey: 'key-1' })
const withClient = (): Promise<string> => connection(shops, { clientId: 'id', clientSecret: 'secret' })
const withGrant = (): Promise<string> =>
  connection(shops, { clientId: 'id', clientSecret: 'secret', refreshToken: 'rt_0' })
const choosingId = async (): Promise<string> => choosing(server.vault, await withClient())
const at = (path: string, body?: unknown): Prepared => ({ path, body })

/** One for each route that is no GET. */
const CASES: Readonly<Record<string, Case>> = {
  '/events': {
    prepare: () =>
      Promise.resolve(
        at('/events', { specversion: '1.0', id: newId('evt'), source: '/test', type: 'a.thing', data: {} }),
      ),
    action: 'delivery.accepted',
  },
  '/runs/{id}/retry': {
    prepare: async () => at(`/runs/${await runIn('fail', 'dead_lettered')}/retry`),
    action: 'run.retried',
  },
  '/runs/{id}/cancel': {
    prepare: async () => at(`/runs/${await runIn('fail', 'dead_lettered')}/cancel`),
    action: 'run.cancelled',
  },
  '/runs/{id}/migrate': {
    async prepare() {
      const run = await runIn('sleep', 'waiting')
      await query('update runs set flow_version = 1 where id = $1', [run])
      return at(`/runs/${run}/migrate`)
    },
    action: 'run.migrated',
  },
  '/runs/{id}/replay': {
    prepare: async () => at(`/runs/${await runIn('go', 'succeeded')}/replay`, { repeatEffects: true }),
    action: 'run.replayed',
  },
  '/runs/{id}/settle': {
    prepare: async () =>
      at(`/runs/${await runIn('doubt', 'held')}/settle`, {
        as: 'done',
        step: 'acme.things.post',
        result: {},
      }),
    action: 'step.resolved',
  },
  '/events/{id}/replay': {
    async prepare() {
      const { event, runs } = await deliver('go')
      await server.engine.reached(runs[0]!, 'succeeded')
      return at(`/events/${event}/replay`, { repeatEffects: true })
    },
    action: 'run.replayed',
  },
  '/quarantine/{id}/release': {
    prepare: async () => at(`/quarantine/${await quarantinedAnswer()}/release`),
    action: 'quarantine.released',
  },
  '/quarantine/{id}/discard': {
    prepare: async () => at(`/quarantine/${await quarantinedAnswer()}/discard`),
    action: 'quarantine.discarded',
  },
  '/incidents/{id}/acknowledge': {
    prepare: async () => at(`/incidents/${await incident()}/acknowledge`),
    action: 'incident.acknowledged',
  },
  '/connections/{name}/test': {
    prepare: () => Promise.resolve(at('/connections/app/test')),
    action: 'connection.tested',
  },
  '/connections/{name}/isolate': {
    prepare: () => Promise.resolve(at('/connections/app/isolate')),
    action: 'breaker.isolated',
  },
  '/connections/{name}/release': {
    async prepare() {
      await server.post('/api/v1/connections/app/isolate')
      return at('/connections/app/release')
    },
    action: 'breaker.released',
  },
  '/connections/{name}/rotate': {
    prepare: async () => at(`/connections/${await withKey()}/rotate`, { secrets: { apiKey: 'key-2' } }),
    action: 'credential.rotated',
  },
  '/connections/{name}/ends': {
    prepare: async () =>
      at(`/connections/${await withKey()}/ends`, { field: 'apiKey', endsAt: '2099-01-01T00:00:00Z' }),
    action: 'connection.changed',
  },
  '/connections/{name}/authorizations': {
    prepare: async () => at(`/connections/${await withClient()}/authorizations`),
    action: 'authorization.begun',
  },
  // What the choice leads to is under whoever began: see `choosing`.
  '/authorizations/{id}/choose': {
    prepare: async () => at(`/authorizations/${await choosingId()}/choose`, { account: 's2' }),
    action: 'authorization.chosen',
  },
  '/authorizations/{id}/cancel': {
    prepare: async () => at(`/authorizations/${await choosingId()}/cancel`),
    action: 'authorization.cancelled',
  },
  // The provider is asked before, and answers the same when it is asked again (RFC 7009, 2.2).
  '/connections/{name}/revoke': {
    prepare: async () => at(`/connections/${await withGrant()}/revoke`),
    action: 'grant.revoked',
  },
  '/schedules/{name}/run': {
    prepare: async () => at(`/schedules/${await schedule()}/run`),
    action: 'schedule.requested',
  },
  '/schedules/{name}/move': {
    prepare: async () => at(`/schedules/${await schedule()}/move`, { to: 'beginning' }),
    action: 'schedule.moved',
  },
  '/hold': { prepare: () => Promise.resolve(at('/hold')), action: 'hold.begun' },
  '/hold/release': {
    async prepare() {
      await server.post('/api/v1/hold')
      return at('/hold/release')
    },
    action: 'hold.released',
  },
  '/tokens': { prepare: () => Promise.resolve(at('/tokens', { name: 'new' })), action: 'token.created' },
  '/tokens/{id}/rotate': {
    prepare: async () => at(`/tokens/${await token()}/rotate`),
    action: 'token.rotated',
  },
  '/tokens/{id}/revoke': {
    prepare: async () => at(`/tokens/${await token()}/revoke`),
    action: 'token.revoked',
  },
}

/** Everything that there is, but for the ledger, and for when tokens were last used. */
async function state(): Promise<string> {
  const tables = (await tenantTables(server.engine.database.pool)).filter((table) => table !== 'ledger')
  const texts: string[] = []
  for (const table of [...tables, 'holds']) {
    const rows = await query<{ row: string }>(
      `select (to_jsonb(t) - 'last_used_at')::text as row from ${table} t order by 1`,
    )
    texts.push(`${table}\n${rows.map(({ row }) => row).join('\n')}`)
  }
  return texts.join('\n\n')
}

/** Until no run of an earlier case moves any more, and no connection of one waits to be welcomed back. */
async function quiet(): Promise<void> {
  await expect
    .poll(
      () =>
        query(`select id from runs where state in ('queued', 'running', 'undoing')
        union all select connection_id from credential_returns`),
      {
        timeout: 60_000,
      },
    )
    .toEqual([])
}

/** What an action does while the ledger takes nothing of it. */
async function withoutLedger(act: () => Promise<{ status: number }>): Promise<{
  readonly status: number
  readonly changed: boolean
}> {
  await quiet()
  const before = await state()
  await query(`insert into installation (name, value) values ('test:refuse', '')`)
  try {
    const { status } = await act()
    return { status, changed: (await state()) !== before }
  } finally {
    await query(`delete from installation where name = 'test:refuse'`)
  }
}

/** A token that has this scope and nothing else, and the actor that the ledger must name. */
async function holder(scope: Scope): Promise<{ headers: Record<string, string>; actor: string }> {
  const { role } = SCOPES[scope]
  const made = await server.vault.tokens.create({
    tenant: 'default',
    name: 'holder',
    actor: 'operator:test',
    // Making a token gives something on: all of the role.
    grants: scope === 'tokens:write' ? { role } : { role, scopes: [scope] },
  })
  return { headers: { authorization: `Bearer ${made.token}` }, actor: `token:${made.id}/${role}` }
}

async function send({ path, body }: Prepared, headers: Record<string, string>): Promise<Answer> {
  const type = path === '/events' ? 'application/cloudevents+json' : 'application/json'
  return server.post(`/api/v1${path}`, body ?? {}, { ...headers, 'content-type': type })
}

const mutating = (): readonly { path: string; scope: Scope }[] => {
  const declared = apiRoutes(server.deps)
  return buildRouter({ ...server.deps, stopping: () => false })
    .router.routes.filter(({ method, path }) => !['GET', 'ALL'].includes(method) && path.startsWith('/api/'))
    .map((route) => {
      const path = route.path.slice('/api/v1'.length).replaceAll(/:(\w+)/g, '{$1}')
      const found = declared.find((one) => one.method !== 'get' && one.path === path)
      if (found === undefined) throw new Error(`${route.method} ${path} is not declared`)
      return { path, scope: found.needs.scope }
    })
}

describe('every route that changes something', () => {
  it('has a case here: a new one says below how it is used, and what the ledger calls it', () => {
    expect(
      mutating()
        .map(({ path }) => path)
        .toSorted(),
    ).toEqual(Object.keys(CASES).toSorted())
  })

  it.each(Object.keys(CASES))(
    'POST %s writes one entry, under the token and its role, with the change',
    async (path) => {
      const { prepare, action } = CASES[path]!
      const { scope } = mutating().find((one) => one.path === path)!
      const { headers, actor } = await holder(scope)
      const entries = () => query<{ action: string }>('select action from ledger where actor = $1', [actor])
      const prepared = await prepare()

      // Without the entry there is no change: both are one transaction.
      const refused = await withoutLedger(() => send(prepared, headers))
      expect(refused).toEqual({ status: expect.any(Number), changed: false })
      expect(refused.status).toBeGreaterThanOrEqual(500)
      expect(await entries()).toEqual([])

      const before = await state()
      const answer = await send(prepared, headers)
      expect([answer.status, answer.text]).toEqual([path === '/events' ? 202 : 200, answer.text])
      expect(await entries()).toEqual([{ action }])
      // A test of a connection changes nothing but the ledger.
      expect((await state()) !== before).toBe(path !== '/connections/{name}/test')
      if (path === '/hold') await server.post('/api/v1/hold/release')
      if (path === '/connections/{name}/isolate') await server.post('/api/v1/connections/app/release')
    },
  )

  it('control: an action that writes its entry after its change, and not with it, is noticed', async () => {
    const { operator } = server.deps
    const careless: typeof operator = {
      ...operator,
      async cancel(run, acting) {
        await query(`update runs set reason = 'cancelled' where id = $1`, [run])
        await operator.cancel(run, acting)
      },
    }
    const run = await runIn('fail', 'dead_lettered')
    const { actor } = await holder('runs:cancel')
    const cancelBy = (by: typeof operator) =>
      withoutLedger(async () => {
        await by.cancel(run, { tenant: 'default', actor: actor as 'token:x' }).catch(() => {})
        return { status: 500 }
      })
    expect(await cancelBy(operator)).toMatchObject({ changed: false })
    expect(await cancelBy(careless)).toMatchObject({ changed: true })
  })
})
