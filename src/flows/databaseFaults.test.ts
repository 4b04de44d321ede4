import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import type { PoolClient } from 'pg'
import { createTestDatabase, type TestDatabase } from '../../tests/support/database.ts'
import { acme, startTestEngine, type TestEngine } from '../../tests/support/engine.ts'
import { defineFlow } from '../define/index.ts'

const waiting = defineFlow({
  name: 'waiting',
  on: acme.on('thing.happened'),
  async run({ event, waitFor }) {
    const { customer } = event.data as { customer?: string }
    const answer = await waitFor(acme.on('thing.answered'), {
      on: 'data.customer',
      equals: customer ?? '',
      timeout: '1 day',
    })
    return answer?.type
  },
})

describe('a run, where the database fails', () => {
  let database: TestDatabase
  let engine: TestEngine
  beforeAll(async () => {
    database = await createTestDatabase()
  })
  afterEach(() => engine.stop())
  afterAll(() => database.drop())

  it('is not blamed for it: the run is begun again', async () => {
    engine = await startTestEngine(database, { flows: [waiting] })
    let failed = 0
    failOnce(engine, 'find_awaited_event', () => failed++)
    const { runs } = await engine.deliver('thing.happened', { n: 1, customer: 'ada' })
    await engine.reached(runs[0]!, 'waiting')
    expect(failed).toBe(1)
  })

  it('is taken back from a node that lives and does not know that it has claimed it', async () => {
    engine = await startTestEngine(database, {
      flows: [defineFlow({ name: 'short', on: acme.on('thing.happened'), run: () => 'done' })],
    })
    const lost = loseAnswerToClaim(engine)
    const { runs } = await engine.deliver('thing.happened', { n: 1 })
    await lost
    const run = await engine.reached(runs[0]!, 'succeeded')
    expect(JSON.parse(run.result!.toString())).toBe('done')
  })

  it('is claimed again, although its wake-up was taken and the claim failed', async () => {
    engine = await startTestEngine(database, {
      flows: [defineFlow({ name: 'short', on: acme.on('thing.happened'), run: () => 'done' })],
    })
    const refused = refuseClaim(engine)
    const { runs } = await engine.deliver('thing.happened', { n: 1 })
    await refused
    const run = await engine.reached(runs[0]!, 'succeeded')
    expect(JSON.parse(run.result!.toString())).toBe('done')
  })

  it('is woken for an event that came long ago, while no node was up', async () => {
    engine = await startTestEngine(database, { flows: [waiting] })
    const { runs } = await engine.deliver('thing.happened', { n: 1, customer: 'grace' })
    await engine.reached(runs[0]!, 'waiting')
    await engine.stop()

    engine = await startTestEngine(database, { flows: [waiting], idle: true })
    engine.engine.arrived = () => {} // It died between the commit of the event and this.
    await engine.deliver('thing.answered', { customer: 'grace' })
    for (const table of ['waits set created_at = created_at', 'event_fields set received_at = received_at'])
      await engine.database.pool.query(`update ${table} - interval '1 hour'`)
    await engine.database.pool.query(`update runs set created_at = created_at - interval '1 hour'`)
    await engine.stop()

    engine = await startTestEngine(database, { flows: [waiting] })
    const run = await engine.reached(runs[0]!, 'succeeded')
    expect(JSON.parse(run.result!.toString())).toBe('thing.answered')
  })
})

const cut = (): Error => new Error('Connection terminated unexpectedly')

/** The pool fails the first statement of this name. */
function failOnce({ database }: TestEngine, name: string, onFailed: () => void): void {
  const { pool } = database
  const query: (...given: never[]) => Promise<never> = pool.query.bind(pool)
  let done = false
  pool.query = (...given: unknown[]) => {
    if (done || (given[0] as { name?: string }).name !== name) return query(...(given as never[]))
    done = true
    onFailed()
    return Promise.reject(cut())
  }
}

/** The first claim of runs is committed, and its connection breaks before the answer comes. Resolves then. */
function loseAnswerToClaim({ database }: TestEngine): Promise<void> {
  return new Promise((resolve) => {
    let lost = false
    database.pool.on('acquire', (client: PoolClient) => {
      const query = client.query.bind(client) as (...given: unknown[]) => Promise<{ rows: unknown[] }>
      let claimed = false
      client.query = (async (...given: unknown[]) => {
        const answer = await query(...given)
        const statement = given[0] as string | { name?: string }
        if (typeof statement !== 'string' && statement.name === 'claim_runs') claimed = answer.rows.length > 0
        if (statement !== 'commit' || !claimed || lost) return answer
        lost = true
        resolve()
        throw cut()
      }) as never
    })
  })
}

/** The first claim fails and is not committed; no sweep would find its runs for an hour. Resolves then. */
function refuseClaim({ database }: TestEngine): Promise<void> {
  return new Promise((resolve) => {
    let refused = false
    database.pool.on('acquire', (client: PoolClient) => {
      const query = client.query.bind(client) as (...given: unknown[]) => Promise<unknown>
      client.query = (async (...given: unknown[]) => {
        if (refused || (given[0] as { name?: string }).name !== 'claim_runs') return query(...given)
        refused = true
        await database.pool.query(`update runs set due_at = now() + interval '1 hour' where state = 'queued'`)
        resolve()
        throw cut()
      }) as never
    })
  })
}
