import { MINUTE, systemClock, systemRandom } from '../base/index.ts'
import {
  defineConnector,
  defineOperation,
  type AnyConnector,
  type AuthScheme,
  type WebhookDefinition,
} from '../define/index.ts'
import { openDatabase, transaction, type Database, type Queryable } from '../db/index.ts'
import { createEgress, type Egress } from '../egress/index.ts'
import { writeEntries, type LedgerEntry } from '../ledger/index.ts'
import { createFakeClock, type FakeClock } from '../testing/fakeClock.ts'
import { createTestDatabase } from '../../tests/support/database.ts'
import { z } from 'zod'
import { localMasterKey, type MasterKey } from './masterKey.ts'
import type { VaultStorage } from './storage.ts'
import { createVault, type Vault, type VaultOptions } from './vault.ts'

/** A vault over a real database and real sockets; only the clock is a test's own. */
export interface VaultFixture {
  readonly vault: Vault
  readonly clock: FakeClock
  readonly storage: VaultStorage
  readonly database: Database
  readonly key: MasterKey
  readonly send: Egress['send']
  /** Another node's vault: its own pool, its own memory. */
  node(changes?: Partial<VaultOptions>): Vault
  /** Everything that the ledger was told, oldest first. */
  entries(): Promise<readonly LedgerEntry[]>
  /** Empties every table that the vault writes. */
  clear(): Promise<void>
  close(): Promise<void>
}

/** A connection that takes long because the machine stood still is none of what is tested here. */
const PATIENT = {
  connectTimeoutMs: MINUTE,
  tcpTimeoutMs: MINUTE,
  idleTimeoutMs: MINUTE,
}

export const ENVIRONMENT: Record<string, string> = {}

export async function openVaultFixture(): Promise<VaultFixture> {
  const test = await createTestDatabase()
  const clock = createFakeClock()
  const key = localMasterKey(systemRandom.bytes(32), systemRandom)
  const egress = createEgress({ clock: systemClock, policy: PATIENT })
  const databases: Database[] = []

  function node(changes: Partial<VaultOptions> = {}): Vault {
    const database = openDatabase({ url: test.url, max: 5 })
    databases.push(database)
    return createVault({
      storage: storageOf(database),
      key,
      clock,
      pollClock: systemClock,
      random: systemRandom,
      record: (client, entry) => writeEntries(client, [entry]),
      send: (request) => egress.send(request),
      authOf: (name) => CONNECTORS.get(name)?.auth,
      environment: ENVIRONMENT,
      ...changes,
    })
  }

  const vault = node()
  const database = databases[0]!
  return {
    vault,
    clock,
    key,
    send: (request) => egress.send(request),
    database,
    storage: storageOf(database),
    node,
    async entries() {
      const { rows } = await database.pool.query<{ entry: Buffer }>('select entry from ledger order by id')
      return rows.map((row) => JSON.parse(row.entry.toString()) as LedgerEntry)
    },
    async clear() {
      await database.pool.query('delete from connections')
      await database.pool.query('delete from secrets')
      await database.pool.query('delete from grant_refreshes')
      await database.pool.query('delete from authorizations')
      await database.pool.query('delete from endpoints')
      await database.pool.query('delete from tokens')
      await database.pool.query('delete from ledger')
      await database.pool.query('delete from installation')
      await database.pool.query(`update master_key set sealing = ''`)
      await database.pool.query('delete from master_key_holders')
      await database.pool.query('delete from master_key_rotations')
      for (const name of Object.keys(ENVIRONMENT)) delete ENVIRONMENT[name]
    },
    async close() {
      await Promise.all(databases.map((one) => one.close()))
      await egress.destroy()
      await test.drop()
    },
  }
}

export function storageOf(database: Database): VaultStorage {
  return {
    reader: database.pool,
    transaction: (work: (client: Queryable) => Promise<never>) => transaction(database.pool, work),
  }
}

const CONNECTORS = new Map<string, AnyConnector>()

/** A connector with this way of authorization. */
export function connectorWith(
  name: string,
  auth: AuthScheme,
  more: { readonly webhooks?: WebhookDefinition; readonly settings?: Record<string, string> } = {},
): AnyConnector {
  const connector = defineConnector({
    name,
    title: name.toUpperCase(),
    baseUrl: `https://api.${name}.example`,
    auth,
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
    ...more,
  }) as AnyConnector
  CONNECTORS.set(name, connector)
  return connector
}

export const SIGNED_WEBHOOKS: WebhookDefinition = {
  signature: {
    name: 'test',
    algorithm: 'sha256',
    encoding: 'hex',
    header: 'x-signature',
    format: { kind: 'plain' },
    signed: ['body'],
    secret: 'utf8',
    source: 'none: a test',
  },
  events: () => [],
  idIsSigned: true,
}
