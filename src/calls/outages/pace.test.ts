import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { z } from 'zod'
import { createTestDatabase, type TestDatabase } from '../../../tests/support/database.ts'
import { MINUTE, SECOND, systemClock } from '../../base/index.ts'
import { openDatabase, type Database } from '../../db/index.ts'
import { defineConnector, defineOperation } from '../../define/index.ts'
import { budgetPerSecond, drainMs, readCorrectedLimits } from './pace.ts'

const operation = (effect: 'read' | 'write', limits?: readonly string[]) =>
  defineOperation({
    summary: 'does something',
    input: z.object({}),
    output: z.object({}),
    effect,
    idempotency: { kind: 'natural' },
    request: () => ({ method: 'GET', path: '/' }),
    ...(limits && { limits }),
  })

const connector = defineConnector({
  name: 'acme',
  title: 'Acme',
  baseUrl: 'https://acme.test',
  auth: { kind: 'none' },
  operations: {
    reads: { get: operation('read') },
    writes: { put: operation('write') },
    exports: { start: operation('write', ['exports']) },
  },
  limits: [
    { name: 'second', allowed: 20, windowMs: SECOND, source: 'test' },
    { name: 'reads', allowed: 5, windowMs: SECOND, appliesTo: 'read', source: 'test' },
    { name: 'day', allowed: 1000, windowMs: 24 * 60 * MINUTE, source: 'test' },
    { name: 'exports', allowed: 6, windowMs: MINUTE, source: 'test' },
  ],
  events: {},
  check: { operation: 'reads.get', input: {} },
})

describe('the pace of a drain', () => {
  it('is that of the narrowest limit which the group counts against, and no day’s', () => {
    expect(budgetPerSecond(connector, 'exports')).toBe(0.1)
    // Without limits of its own it may count against all of its effect.
    expect(budgetPerSecond(connector, 'reads')).toBe(0.1)
    expect(drainMs(60, connector, 'exports', 1)).toBe(10 * MINUTE)
  })

  it('is what the provider says, less what others take, and nothing while it wants nothing', () => {
    const at = (allowed: number, blockedMs = 0) => new Map([['exports', { allowed, blockedMs }]])
    expect(budgetPerSecond(connector, 'exports', at(3))).toBe(0.05)
    expect(budgetPerSecond(connector, 'exports', at(6, SECOND))).toBe(0)
    expect(drainMs(60, connector, 'exports', 1, at(3))).toBe(20 * MINUTE)
    // Another limit's correction is no concern of it.
    expect(budgetPerSecond(connector, 'exports', new Map([['second', { allowed: 1, blockedMs: 9 }]]))).toBe(
      0.1,
    )
  })
})

describe('what nodes have learned of limits', () => {
  let testDatabase: TestDatabase
  let database: Database
  beforeEach(async () => {
    testDatabase = await createTestDatabase()
    database = openDatabase({ url: testDatabase.url, max: 2 })
  })
  afterEach(async () => {
    await database.close()
    await testDatabase.drop()
  })

  it('is read of this connection, as declared where nothing is known', async () => {
    const learned = (connection: string, limit: string, state: object) =>
      database.pool.query(
        `insert into budgets (tenant, connection_id, limit_name, state) values ('default', $1, $2, $3)`,
        [connection, limit, JSON.stringify(state)],
      )
    await learned('con_1', 'second', { stated: 12 })
    await learned('con_1', 'exports', { blockedUntil: systemClock.now() + MINUTE })
    await learned('con_1', 'gone', { stated: 1 })
    await learned('con_2', 'reads', { stated: 1 })
    const known = await readCorrectedLimits(
      database.pool,
      { tenant: 'default', connectionId: 'con_1' },
      connector,
    )
    expect([...known.keys()].toSorted()).toEqual(['exports', 'second'])
    expect(known.get('second')).toEqual({ allowed: 12, blockedMs: 0 })
    expect(known.get('exports')!.allowed).toBe(6)
    expect(known.get('exports')!.blockedMs).toBeGreaterThan(0)
  })
})
