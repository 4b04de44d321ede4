import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { createTestDatabase, type TestDatabase } from '../../tests/support/database.ts'
import { systemClock, systemRandom } from '../base/index.ts'
import type { Database } from '../db/index.ts'
import { defineConnector, defineOperation } from '../define/index.ts'
import { createChannels } from '../incidents/index.ts'
import { ALERT } from '../../tests/egress/alert.ts'
import { z } from 'zod'
import type { EgressRequest } from '../egress/index.ts'
import { openInstallation, type Installation } from './installation.ts'
import { recordDenials } from './recordDenials.ts'

const books = defineConnector({
  name: 'books',
  title: 'Books',
  baseUrl: 'https://books.example.com',
  auth: {
    kind: 'oauth2',
    tokenUrl: 'https://10.0.0.1/token',
    revocationUrl: 'https://10.0.0.3/revoke',
    scopes: [],
    clientAuth: 'post',
  },
  operations: {
    ping: defineOperation({
      summary: 'ping',
      input: z.object({}),
      output: z.object({}),
      idempotency: { kind: 'natural' },
      request: () => ({ method: 'GET', path: '/ping' }),
    }),
  },
  events: {},
  limits: [],
  check: { operation: 'ping', input: {} },
})

let test: TestDatabase
let folder: string
let installation: Installation
beforeAll(async () => {
  test = await createTestDatabase()
  folder = await mkdtemp(join(tmpdir(), 'trestle-denials-'))
  installation = await openInstallation({
    config: {
      connections: {
        books: books.connect({ secrets: { clientId: 'id', clientSecret: 'secret', refreshToken: 'token' } }),
      },
      flows: [],
      alerts: {
        webhook: {
          url: 'https://10.0.0.2/alerts',
          secret: `whsec_${systemRandom.bytes(32).toString('base64')}`,
        },
      },
      isConfig: true,
    },
    folder,
    databaseUrl: test.url,
    environment: { TRESTLE_MASTER_KEY: systemRandom.bytes(32).toString('base64') },
    clock: systemClock,
    random: systemRandom,
    development: false,
  })
})
afterAll(async () => {
  await installation.close()
  await test.drop()
  await rm(folder, { recursive: true })
})

interface Row {
  readonly tenant: string
  readonly target: string
  readonly run_id: string | null
  readonly connection_id: string | null
  readonly entry: string
}

async function recorded(): Promise<readonly Row[]> {
  const { rows } = await installation.database.pool.query<Row>(
    `select tenant, target, run_id, connection_id, convert_from(entry, 'UTF8') as entry
     from ledger where action = 'egress.denied' order by at, id`,
  )
  return rows
}

const request = (url: string, over: Partial<EgressRequest> = {}): EgressRequest => ({
  method: 'GET',
  url,
  headers: {},
  timeoutMs: 10_000,
  allowPrivate: false,
  ...over,
})

it.each([
  ['https://10.0.0.1:8443/secret-path?secret-query', 'https://10.0.0.1:8443'],
  ['https://2130706433/', 'https://127.0.0.1'],
  ['https://user:secret@api.example.com/', 'https://api.example.com'],
  ['http://api.example.com/', 'http://api.example.com'],
  ['https://localhost/', 'https://localhost'],
  ['file:///etc/secret', 'file://'],
  ['no-url-secret', 'a URL that cannot be read'],
])(
  'a refusal of %s is on record before it is known, without what may be secret in it',
  async (url, target) => {
    const before = await recorded()
    expect(await installation.egress.send(request(url))).toMatchObject({ code: 'egress_denied' })
    const [row, ...others] = (await recorded()).slice(before.length)
    expect(others).toEqual([])
    expect(row).toMatchObject({ tenant: 'default', target, run_id: null, connection_id: null })
    expect(row!.entry).not.toContain('secret')
  },
)

it('belongs to the tenant, connection and run that asked', async () => {
  const onBehalfOf = { tenant: 'other', connectionId: 'con_1', runId: 'run_1' }
  await installation.egress.send(request('https://169.254.169.254/', { onBehalfOf }))
  expect((await recorded()).at(-1)).toMatchObject({
    tenant: 'other',
    connection_id: 'con_1',
    run_id: 'run_1',
  })
})

it('is written for a mail, too', async () => {
  const server = { host: '127.0.0.1', port: 25, security: 'starttls' } as const
  const onBehalfOf = { tenant: 'other', connectionId: 'con_2' }
  const result = await installation.egress.mail({
    server,
    allowPrivate: false,
    timeoutMs: 10_000,
    onBehalfOf,
  })
  expect(result).toMatchObject({ code: 'egress_denied' })
  expect((await recorded()).at(-1)).toMatchObject({
    tenant: 'other',
    target: 'smtp://127.0.0.1:25',
    connection_id: 'con_2',
  })
})

it('belongs to the connection whose token endpoint, revocation or alert it was', async () => {
  const { vault, egress, config, database } = installation
  await vault.syncDeclared('default', config.connections)
  const connection = await vault.loadConnection('default', 'books')
  const nothing = { method: 'GET', url: connection.baseUrl, headers: {}, body: undefined }
  await expect(vault.authorize(connection, nothing, { idempotencyKey: 'k', now: 0 })).rejects.toThrow(
    '10.0.0.1',
  )
  expect((await recorded()).at(-1)).toMatchObject({
    tenant: 'default',
    target: 'https://10.0.0.1',
    connection_id: connection.id,
  })
  await vault.revokeGrant('default', 'books', 'operator:ada')
  expect((await recorded()).at(-1)).toMatchObject({
    target: 'https://10.0.0.3',
    connection_id: connection.id,
  })
  const [channel] = await createChannels(config.alerts, {
    clock: systemClock,
    tenant: 'default',
    egress,
    standing: (name) => vault.standing('default', name),
  })
  expect(await channel!.tell(ALERT)).toMatchObject({ as: 'failed' })
  const { rows } = await database.pool.query<{ id: string }>(
    `select id from connections where name = 'alerts-webhook'`,
  )
  expect((await recorded()).at(-1)).toMatchObject({
    target: 'https://10.0.0.2',
    connection_id: rows[0]!.id,
  })
})

it('stands where it cannot be written, and that is told', async () => {
  const faults: string[] = []
  const gone = { pool: { connect: () => Promise.reject(new Error('gone')) } } as unknown as Database
  const record = recordDenials({
    database: gone,
    clock: systemClock,
    tenant: 'default',
    onFault: (what) => faults.push(what),
  })
  await record({ target: 'https://10.0.0.1', reason: 'private', onBehalfOf: undefined })
  expect(faults).toEqual(['record of a refused address'])
})
