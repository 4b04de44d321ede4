import type { PoolClient } from 'pg'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { createTestDatabase, type TestDatabase } from '../../tests/support/database.ts'
import {
  acme,
  failedFor,
  made,
  startTestEngine,
  TENANT,
  type TestEngine,
} from '../../tests/support/engine.ts'
import type { RunId } from '../base/index.ts'
import { defineFlow } from '../define/index.ts'

let testDatabase: TestDatabase
let engine: TestEngine
beforeAll(async () => {
  testDatabase = await createTestDatabase()
})
afterEach(() => engine.stop())
afterAll(() => testDatabase.drop())

const operator = { tenant: TENANT, actor: 'operator:test' } as const

const entries = async (run: RunId): Promise<readonly string[]> => {
  const { rows } = await engine.database.pool.query<{ entry: string }>(
    `select action || ' ' || outcome as entry from ledger where run_id = $1 order by id`,
    [run],
  )
  return rows.map(({ entry }) => entry)
}

/** Something that a flow awaits beside its steps, and that the test ends. */
function gate(): { readonly reached: Promise<void>; readonly pass: () => Promise<void>; open(): void } {
  let open: () => void = () => {}
  let reach: () => void = () => {}
  const opened = new Promise<void>((resolve) => (open = resolve))
  const reached = new Promise<void>((resolve) => (reach = resolve))
  return {
    reached,
    pass: () => {
      reach()
      return opened
    },
    open,
  }
}

/** The answer to the first commit behind a statement that `counts` is lost: it is committed, and nobody hears of it. */
function loseAnswer(counts: (name: string, values: readonly unknown[]) => boolean): void {
  let lost = false
  engine.database.pool.on('acquire', (client: PoolClient) => {
    const query = client.query.bind(client) as (...given: unknown[]) => Promise<unknown>
    let concerned = false
    client.query = (async (...given: unknown[]) => {
      const statement = given[0] as string | { name?: string; values?: readonly unknown[] }
      if (typeof statement !== 'string') concerned ||= counts(statement.name ?? '', statement.values ?? [])
      const answer = await query(...given)
      if (statement !== 'commit' || !concerned || lost) return answer
      lost = true
      throw new Error('Connection terminated unexpectedly')
    }) as never
  })
}

describe('the ledger says what became of a run', () => {
  it('that a person cancelled while its flow was about to fail: it was cancelled, and is no dead letter', async () => {
    const door = gate()
    const flow = defineFlow({
      name: 'fails-late',
      on: acme.on('thing.happened'),
      async run({ step }) {
        await step('first', () => 1)
        await door.pass()
        throw new Error('it failed in the end')
      },
    })
    engine = await startTestEngine(testDatabase, { flows: [flow] })
    const { runs } = await engine.deliver('thing.happened', { n: 1 })
    await door.reached
    await engine.operator.cancel(runs[0]!, operator)
    door.open()
    const run = await engine.reached(runs[0]!, 'cancelled', 'dead_lettered')
    expect(run.state).toBe('cancelled')
    expect(await entries(runs[0]!)).toEqual(['run.cancelled asked', 'run.cancelled cancelled'])
  })

  it('that a person cancelled while it was about to wait: its word stands, and it is undone', async () => {
    const door = gate()
    const flow = defineFlow({
      name: 'waits-late',
      on: acme.on('thing.happened'),
      async run({ use, sleep }) {
        const { things } = use(acme)
        await things.upsert({}, { undo: () => things.remove({}) })
        await door.pass()
        await sleep('1 hour')
      },
    })
    engine = await startTestEngine(testDatabase, { flows: [flow] })
    const { runs } = await engine.deliver('thing.happened', { n: 1 })
    await door.reached
    await engine.operator.cancel(runs[0]!, operator)
    door.open()
    const run = await engine.reached(runs[0]!, 'cancelled')
    expect(run).toMatchObject({ reason_code: 'cancelled', reason: 'Cancelled by operator:test.' })
    expect(await entries(runs[0]!)).toEqual([
      'call.succeeded succeeded',
      'run.cancelled asked',
      'call.succeeded succeeded',
      'run.cancelled cancelled',
    ])
  })

  it('that a person cancelled while what it had done was being undone: it ends cancelled', async () => {
    const door = gate()
    const flow = defineFlow({
      name: 'undoes',
      on: acme.on('thing.happened'),
      async run({ use }) {
        const { things } = use(acme)
        await things.upsert({}, { undo: () => things.remove({}) })
        throw new Error('it failed')
      },
    })
    engine = await startTestEngine(testDatabase, {
      flows: [flow],
      call: async (request) => {
        if (request.operationName === 'things.remove') await door.pass()
        return made()
      },
    })
    const { runs } = await engine.deliver('thing.happened', { n: 1 })
    await door.reached
    await engine.operator.cancel(runs[0]!, operator)
    door.open()
    const run = await engine.reached(runs[0]!, 'cancelled', 'undone')
    expect(run.state).toBe('cancelled')
    expect((await entries(runs[0]!)).at(-1)).toBe('run.cancelled cancelled')
  })

  it('that asked for a step after it had been let go: that it gave up', async () => {
    const door = gate()
    const flow = defineFlow({
      name: 'asks-late',
      on: acme.on('thing.happened'),
      async run({ step, sleep }) {
        void sleep('1 hour')
        await door.pass()
        await step('late', () => 1)
      },
    })
    engine = await startTestEngine(testDatabase, { flows: [flow] })
    const { runs } = await engine.deliver('thing.happened', { n: 1 })
    await engine.reached(runs[0]!, 'waiting')
    door.open()
    await engine.reached(runs[0]!, 'dead_lettered')
    expect(await entries(runs[0]!)).toEqual(['run.gave_up undoing', 'run.dead_lettered dead_lettered'])
  })

  it('once, where the answer to the write was lost: of a failed attempt, and of giving up', async () => {
    let removed = false
    const flow = defineFlow({
      name: 'fails-once',
      on: acme.on('thing.happened'),
      retry: { first: 1, cap: 1 },
      async run({ use }) {
        const { things } = use(acme)
        await things.create({}, { undo: () => things.remove({}) })
        throw new Error('it failed')
      },
    })
    let calls = 0
    engine = await startTestEngine(testDatabase, {
      flows: [flow],
      call: ({ operationName }) => {
        removed ||= operationName === 'things.remove'
        return calls++ === 0 ? failedFor('http_503', true) : made()
      },
    })
    loseAnswer((name, values) => name === 'upsert_attempts' && String(values[11]).includes('failed'))
    loseAnswer((name, values) => name === 'move_runs' && String(values[2]).includes('undoing'))
    const { runs } = await engine.deliver('thing.happened', { n: 1 })
    await engine.reached(runs[0]!, 'undone')
    expect(removed).toBe(true)
    expect(await entries(runs[0]!)).toEqual([
      'call.failed failed',
      'call.succeeded succeeded',
      'run.gave_up undoing',
      'call.succeeded succeeded',
      'run.undone undone',
    ])
  })
})
