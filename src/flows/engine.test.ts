import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { createTestDatabase, type TestDatabase } from '../../tests/support/database.ts'
import {
  acme,
  doubted,
  failedFor,
  made,
  startTestEngine,
  type TestEngine,
  type TestEngineOptions,
} from '../../tests/support/engine.ts'
import { systemClock } from '../base/index.ts'
import type { CallOutcome, CallRequest } from '../calls/index.ts'
import { defineFlow, type FlowContext } from '../define/index.ts'
import { writeEntries } from '../ledger/index.ts'
import { rescueRuns } from './nodes.ts'

let testDatabase: TestDatabase
beforeEach(async () => {
  testDatabase = await createTestDatabase()
})
afterEach(() => testDatabase.drop())

async function withEngine(
  options: TestEngineOptions,
  work: (engine: TestEngine) => Promise<void>,
): Promise<void> {
  const engine = await startTestEngine(testDatabase, options)
  try {
    await work(engine)
  } finally {
    await engine.stop()
  }
}

const flow = (run: (context: FlowContext<{ n: number; customer?: string }>) => unknown, over: object = {}) =>
  defineFlow({
    name: 'test',
    on: acme.on('thing.happened'),
    retry: { first: 5, cap: 20 },
    run,
    ...over,
  })

/** The sleep of a run that waits is over. */
async function sleptEnough({ database }: TestEngine, run: string): Promise<void> {
  const { rowCount } = await database.pool.query(
    `update runs set waits = regexp_replace(waits, '"until":[0-9]+', '"until":0'), due_at = now()
     where id = $1 and state = 'waiting'`,
    [run],
  )
  expect(rowCount).toBe(1)
}

const resultOf = (row: { result: Buffer | null }): unknown =>
  row.result === null ? undefined : JSON.parse(row.result.toString())

describe('a run', () => {
  it('calls each operation once and keeps what the flow returns', async () => {
    const calls: CallRequest[] = []
    const twoCalls = flow(async ({ event, use }) => {
      const a = await use(acme).things.create({ n: event.data.n })
      const b = await use(acme).things.upsert({ of: a['id'] })
      return { a: a['id'], b: b['id'] }
    })
    await withEngine(
      { flows: [twoCalls], call: (request) => (calls.push(request), made({ id: `made ${calls.length}` })) },
      async (engine) => {
        const { runs } = await engine.deliver('thing.happened', { n: 7 })
        const run = await engine.reached(runs[0]!, 'succeeded')
        expect(resultOf(run)).toEqual({ a: 'made 1', b: 'made 2' })
        expect(calls.map((call) => call.input)).toEqual([{ n: 7 }, { of: 'made 1' }])
        expect(new Set(calls.map((call) => call.idempotencyKey)).size).toBe(2)
        const { rows } = await engine.database.pool.query(
          'select action from ledger where run_id = $1 order by id',
          [run.id],
        )
        expect(rows.map((row: { action: string }) => row.action)).toEqual([
          'call.succeeded',
          'call.succeeded',
          'run.succeeded',
        ])
      },
    )
  })

  it('starts once for an event that comes twice', async () => {
    await withEngine({ flows: [flow(() => 1)] }, async (engine) => {
      const { runs } = await engine.deliver('thing.happened', { n: 1 }, 'evt_twice')
      await engine.reached(runs[0]!, 'succeeded')
      const again = await engine.inbox.accept({
        tenant: 'default',
        endpointId: 'ep',
        connectionId: 'con_acme',
        connectionName: 'acme',
        connector: acme,
        headers: [],
        contentType: 'application/json',
        body: Buffer.from('{}'),
        receivedAt: Date.now(),
        parsed: { data: { n: 1 } },
        events: [{ id: 'evt_twice', type: 'thing.happened', at: '/data' }],
        contentUnique: false,
      })
      expect(again.state).toBe('duplicate')
    })
  })

  it('retries what failed for now with the same key, and goes on', async () => {
    const keys: string[] = []
    const answers: CallOutcome[] = [
      failedFor('rate_limited', true),
      failedFor('unavailable', true),
      made({ id: 3 }),
    ]
    await withEngine(
      {
        flows: [flow(({ use }) => use(acme).things.create({}))],
        call: (request) => (keys.push(request.idempotencyKey), answers[keys.length - 1]!),
      },
      async (engine) => {
        const { runs } = await engine.deliver('thing.happened', { n: 1 })
        expect(resultOf(await engine.reached(runs[0]!, 'succeeded'))).toEqual({ id: 3 })
        expect(keys).toHaveLength(3)
        expect(new Set(keys).size).toBe(1)
        const { rows } = await engine.database.pool.query(
          'select number, state from attempts where run_id = $1 order by number',
          [runs[0]],
        )
        expect(rows).toEqual([
          { number: 1, state: 'failed' },
          { number: 2, state: 'failed' },
          { number: 3, state: 'succeeded' },
        ])
      },
    )
  })

  it('survives a wait by leaving memory, and goes on from its journal', async () => {
    let made1 = 0
    let entered = 0
    const sleeper = flow(async ({ use, sleep }) => {
      entered++
      const a = await use(acme).things.create({})
      await sleep('1 day')
      return a['n']
    })
    await withEngine({ flows: [sleeper], call: () => made({ n: ++made1 }) }, async (engine) => {
      const { runs } = await engine.deliver('thing.happened', { n: 1 })
      await engine.reached(runs[0]!, 'waiting')
      await sleptEnough(engine, runs[0]!)
      expect(resultOf(await engine.reached(runs[0]!, 'succeeded'))).toBe(1)
      expect(entered).toBe(2)
      expect(made1).toBe(1)
    })
  })

  it('waits for an event, also one that came before the wait began', async () => {
    let letGo: () => void = () => {}
    const gate = new Promise<void>((resolve) => {
      letGo = resolve
    })
    const waiter = flow(async ({ event, step, waitFor }) => {
      await step('gate', () => gate)
      const options = { on: 'data.customer', equals: event.data.customer!, timeout: '1 day' }
      const first = await waitFor(acme.on('thing.answered'), options)
      const second = await waitFor(acme.on('thing.answered'), options)
      return [first?.data['n'], second?.data['n']]
    })
    await withEngine({ flows: [waiter] }, async (engine) => {
      const { runs } = await engine.deliver('thing.happened', { n: 1, customer: 'ada' })
      await engine.deliver('thing.answered', { customer: 'bob', n: 0 })
      await engine.deliver('thing.answered', { customer: 'ada', n: 1 })
      letGo()
      await engine.reached(runs[0]!, 'waiting')
      await engine.deliver('thing.answered', { customer: 'ada', n: 2 })
      expect(resultOf(await engine.reached(runs[0]!, 'succeeded'))).toEqual([1, 2])
      expect((await engine.database.pool.query('select * from waits')).rows).toEqual([])
    })
  })

  it('gives undefined when nobody came in time', async () => {
    const waiter = flow(async ({ waitFor }) => ({
      came:
        (await waitFor(acme.on('thing.answered'), { on: 'data.customer', equals: 'nobody', timeout: 150 })) ??
        'none',
    }))
    await withEngine({ flows: [waiter] }, async (engine) => {
      const { runs } = await engine.deliver('thing.happened', { n: 1 })
      expect(resultOf(await engine.reached(runs[0]!, 'succeeded'))).toEqual({ came: 'none' })
    })
  })

  it('is held where the outcome of an unrepeatable call is unknown, and goes on by a person’s word', async () => {
    let calls = 0
    await withEngine(
      {
        flows: [flow(({ use }) => use(acme).things.post({}))],
        call: () => (++calls === 1 ? doubted() : made({ call: calls })),
      },
      async (engine) => {
        const { runs } = await engine.deliver('thing.happened', { n: 1 })
        const run = await engine.reached(runs[0]!, 'held')
        expect(run.reason_code).toBe('outcome_unknown')
        await engine.operator.settle(
          run.id,
          { as: 'not_done', step: 'acme.things.post' },
          { actor: 'operator:test', tenant: 'default' },
        )
        expect(resultOf(await engine.reached(run.id, 'succeeded'))).toEqual({ call: 2 })
      },
    )
  })

  it('asks first where the provider can be asked, and sends a new effect only after a definite no', async () => {
    const asked: [string, string][] = []
    const answers: CallOutcome[] = [doubted(), { as: 'not_found', exchange: {} as never }, made({ id: 1 })]
    await withEngine(
      {
        flows: [flow(({ use }) => use(acme).things.find({}))],
        call: async (request) => {
          if (request.kind === 'send') await request.begin?.({} as never)
          asked.push([request.kind, request.idempotencyKey])
          return answers[asked.length - 1]!
        },
      },
      async (engine) => {
        const { runs } = await engine.deliver('thing.happened', { n: 1 })
        await engine.reached(runs[0]!, 'succeeded')
        expect(asked.map(([kind]) => kind)).toEqual(['send', 'lookup', 'send'])
        expect(asked[0]![1]).toBe(asked[1]![1])
        expect(asked[2]![1]).not.toBe(asked[0]![1])
      },
    )
  })

  it('undoes in reverse order when a later step fails for good', async () => {
    const done: string[] = []
    const undoing = flow(async ({ use }) => {
      const { things } = use(acme)
      await things.create({ n: 1 }, { as: 'one', undo: () => things.remove({ n: 1 }) })
      await things.create({ n: 2 }, { as: 'two', undo: () => things.remove({ n: 2 }) })
      await things.post({ n: 3 })
    })
    await withEngine(
      {
        flows: [undoing],
        call: (request) => {
          const n = (request.input as { n: number }).n
          if (n === 3) return failedFor('refused', false)
          done.push(`${request.operationName} ${n}`)
          return made()
        },
      },
      async (engine) => {
        const { runs } = await engine.deliver('thing.happened', { n: 1 })
        const run = await engine.reached(runs[0]!, 'undone')
        expect(run.reason_code).toBe('refused')
        expect(done).toEqual(['things.create 1', 'things.create 2', 'things.remove 2', 'things.remove 1'])
      },
    )
  })

  it('is held where an undo fails for good', async () => {
    const undoing = flow(async ({ use }) => {
      const { things } = use(acme)
      await things.create({}, { undo: () => things.remove({}) })
      throw new Error('no')
    })
    await withEngine(
      {
        flows: [undoing],
        call: (request) => (request.operationName === 'things.remove' ? failedFor('gone', false) : made()),
      },
      async (engine) => {
        const { runs } = await engine.deliver('thing.happened', { n: 1 })
        const run = await engine.reached(runs[0]!, 'held')
        expect(run.reason_code).toBe('undo_failed')
        await engine.operator.settle(run.id, { as: 'undone' }, { actor: 'operator:test', tenant: 'default' })
        await engine.reached(run.id, 'undone')
      },
    )
  })

  it('becomes a dead letter where nothing can be undone, and a retry goes on with the same key', async () => {
    const keys: string[] = []
    let broken = true
    await withEngine(
      {
        flows: [
          flow(async ({ use }) => {
            await use(acme).things.upsert({})
            return use(acme).things.create({})
          }),
        ],
        call: (request) => (
          keys.push(request.idempotencyKey),
          request.operationName === 'things.create' && broken
            ? failedFor('refused', false)
            : made({ fixed: true })
        ),
      },
      async (engine) => {
        const { runs } = await engine.deliver('thing.happened', { n: 1 })
        const run = await engine.reached(runs[0]!, 'dead_lettered')
        expect(run.reason).toBe('it failed: refused')
        broken = false
        await engine.operator.retry(run.id, { actor: 'operator:test', tenant: 'default' })
        expect(resultOf(await engine.reached(run.id, 'succeeded'))).toEqual({ fixed: true })
        expect(keys).toHaveLength(3)
        expect(keys[1]).toBe(keys[2])
      },
    )
  })

  it('is cancelled while it waits: what it made is undone', async () => {
    const removed: unknown[] = []
    const waiting = flow(async ({ use, sleep }) => {
      const { things } = use(acme)
      await things.create({ n: 1 }, { undo: () => things.remove({ n: 1 }) })
      await sleep('1 day')
    })
    await withEngine(
      {
        flows: [waiting],
        call: (request) => (request.operationName === 'things.remove' && removed.push(request.input), made()),
      },
      async (engine) => {
        const { runs } = await engine.deliver('thing.happened', { n: 1 })
        await engine.reached(runs[0]!, 'waiting')
        await engine.operator.cancel(runs[0]!, { actor: 'operator:test', tenant: 'default' })
        await engine.reached(runs[0]!, 'cancelled')
        expect(removed).toEqual([{ n: 1 }])
      },
    )
  })

  it('is cancelled while it executes', async () => {
    let letGo: () => void = () => {}
    const gate = new Promise<void>((resolve) => {
      letGo = resolve
    })
    let began: () => void = () => {}
    const begun = new Promise<void>((resolve) => {
      began = resolve
    })
    const calls: string[] = []
    const executing = flow(async ({ use }) => {
      const { things } = use(acme)
      await things.create({}, { undo: () => things.remove({}) })
      await things.upsert({})
    })
    await withEngine(
      {
        flows: [executing],
        call: async (request) => {
          calls.push(request.operationName)
          if (request.operationName === 'things.create') {
            began()
            await gate
          }
          return made()
        },
      },
      async (engine) => {
        const { runs } = await engine.deliver('thing.happened', { n: 1 })
        await begun
        await engine.operator.cancel(runs[0]!, { actor: 'operator:test', tenant: 'default' })
        letGo()
        await engine.reached(runs[0]!, 'cancelled')
        expect(calls).toEqual(['things.create', 'things.remove'])
      },
    )
  })

  it('replays as a new run only with consent to the effects it repeats', async () => {
    await withEngine({ flows: [flow(({ use }) => use(acme).things.create({}))] }, async (engine) => {
      const { runs } = await engine.deliver('thing.happened', { n: 1 })
      await engine.reached(runs[0]!, 'succeeded')
      const acting = { actor: 'operator:test', tenant: 'default' } as const
      await expect(engine.operator.replayRun(runs[0]!, { ...acting, repeatEffects: false })).rejects.toThrow(
        '--repeat-effects',
      )
      const replayed = await engine.operator.replayRun(runs[0]!, { ...acting, repeatEffects: true })
      await engine.reached(replayed.runs[0]!, 'succeeded')
      expect(replayed.runs[0]).not.toBe(runs[0])
    })
  })

  it.each([
    [
      'a value that is no error',
      () => {
        throw { odd: true }
      },
      'dead_lettered',
      'flow_threw',
      'no Error was thrown',
    ],
    ['nothing', () => Promise.reject(), 'dead_lettered', 'flow_threw', 'no Error was thrown'],
    [
      'an unserializable result',
      () => ({ when: new Date(0) }),
      'succeeded',
      'result_unserializable',
      'toISOString',
    ],
    [
      'an unserializable step',
      ({ step }: FlowContext) => step('map', () => new Map()),
      'dead_lettered',
      'json_unserializable',
      'plain data',
    ],
    [
      'a step in a step',
      ({ step }: FlowContext) => step('outer', () => step('inner', () => 1)),
      'dead_lettered',
      'step_in_step',
      'outer',
    ],
    [
      'an undeclared field to wait on',
      ({ waitFor }: FlowContext) =>
        waitFor(acme.on('thing.answered'), { on: 'data.nope', equals: 1, timeout: 1 }),
      'dead_lettered',
      'wait_field_undeclared',
      'data.customer',
    ],
  ] as const)('says why when the flow gives %s', async (_, run, state, code, reason) => {
    await withEngine({ flows: [flow(run as never)] }, async (engine) => {
      const { runs } = await engine.deliver('thing.happened', { n: 1 })
      const row = await engine.reached(runs[0]!, state)
      expect(row.reason_code).toBe(code)
      expect(row.reason).toContain(reason)
    })
  })

  it('skips, holds or runs a step that is too late, as it was told', async () => {
    const late = flow(async ({ use }) => {
      const past = new Date(0)
      const skipped = await use(acme).things.create({ as: 'skip' }, { validUntil: past, onLate: 'skip' })
      const ran = await use(acme).things.create({ as: 'run' }, { validUntil: past, onLate: 'run' })
      const held = await use(acme).things.create({ as: 'hold' }, { validUntil: past })
      return [skipped ?? 'skipped', ran['as'], held['as']]
    })
    await withEngine({ flows: [late], call: (request) => made(request.input) }, async (engine) => {
      const { runs } = await engine.deliver('thing.happened', { n: 1 })
      const run = await engine.reached(runs[0]!, 'held')
      expect(run.reason_code).toBe('too_late')
      await engine.operator.settle(
        run.id,
        { as: 'not_done', step: 'acme.things.create', ordinal: 3 },
        { actor: 'operator:test', tenant: 'default' },
      )
      expect(resultOf(await engine.reached(run.id, 'succeeded'))).toEqual(['skipped', 'run', 'hold'])
    })
  })
})

describe('lanes', () => {
  it('run one after another in the order of arrival, and other lanes beside them', async () => {
    const order: string[] = []
    let others: () => void = () => {}
    const othersEnded = new Promise<void>((resolve) => {
      others = resolve
    })
    const laned = flow(
      async ({ event, use, step, sleep }) => {
        const { customer, n } = event.data
        order.push(`+${customer}${n}`)
        await use(acme).things.upsert({})
        if (customer === 'a') await sleep(120)
        // The last of this lane ends when the other lane has come to its end beside it.
        if (customer === 'a' && n === 3) await step('others', () => othersEnded)
        order.push(`-${customer}${n}`)
        if (customer === 'b' && n === 3) others()
      },
      { key: (event: { data: { customer: string } }) => event.data.customer },
    )
    await withEngine({ flows: [laned] }, async (engine) => {
      const delivered = []
      for (const n of [1, 2, 3]) {
        delivered.push(await engine.deliver('thing.happened', { n, customer: 'a' }))
        delivered.push(await engine.deliver('thing.happened', { n, customer: 'b' }))
      }
      for (const { runs } of delivered) await engine.reached(runs[0]!, 'succeeded')
      const ends = order.filter((entry) => entry.startsWith('-'))
      expect(ends.filter((entry) => entry.includes('a'))).toEqual(['-a1', '-a2', '-a3'])
      expect(ends.filter((entry) => entry.includes('b'))).toEqual(['-b1', '-b2', '-b3'])
    })
  })

  it('are freed by a dead letter', async () => {
    const laned = flow(
      ({ event }) => {
        if (event.data.n === 1) throw new Error('poison')
      },
      { key: () => 'one' },
    )
    await withEngine({ flows: [laned] }, async (engine) => {
      const first = await engine.deliver('thing.happened', { n: 1 })
      const second = await engine.deliver('thing.happened', { n: 2 })
      await engine.reached(first.runs[0]!, 'dead_lettered')
      await engine.reached(second.runs[0]!, 'succeeded')
    })
  })
})

describe('a node', () => {
  it('hands back at a stop what is under way, and another goes on without doing anything twice', async () => {
    const calls: string[] = []
    let began: () => void = () => {}
    const begun = new Promise<void>((resolve) => {
      began = resolve
    })
    const long = flow(async ({ use, sleep }) => {
      await use(acme).things.create({ n: 1 })
      await sleep(30)
      await use(acme).things.create({ n: 2 })
      return 'done'
    })
    const call = (request: CallRequest): CallOutcome => {
      calls.push(JSON.stringify(request.input))
      began()
      return made()
    }
    const first = await startTestEngine(testDatabase, { flows: [long], call })
    const { runs } = await first.deliver('thing.happened', { n: 1 })
    await begun
    await first.stop()
    await withEngine({ flows: [long], call }, async (second) => {
      expect(resultOf(await second.reached(runs[0]!, 'succeeded'))).toBe('done')
      expect(calls.toSorted()).toEqual(['{"n":1}', '{"n":2}'])
    })
  })

  it('that was thought dead writes nothing more', async () => {
    let calls = 0
    let letGo: () => void = () => {}
    const gate = new Promise<void>((resolve) => {
      letGo = resolve
    })
    let began: () => void = () => {}
    const begun = new Promise<void>((resolve) => {
      began = resolve
    })
    const slow = flow(({ use }) => use(acme).things.create({}))
    await withEngine(
      {
        flows: [slow],
        call: async () => {
          if (++calls === 1) {
            began()
            await gate
            return made({ from: 'zombie' })
          }
          return made({ from: 'rescuer' })
        },
      },
      async (engine) => {
        const { runs } = await engine.deliver('thing.happened', { n: 1 })
        await begun
        // What the others do when this node's heartbeat stays away. It may beat in between: then once more.
        const wake = (): Promise<void> => Promise.resolve()
        const rescue = () => rescueRuns({ database: engine.database, clock: systemClock, writeEntries, wake })
        do
          await engine.database.pool.query(
            `update nodes set heartbeat_at = now() - interval '1 minute' where id = $1`,
            [engine.engine.node],
          )
        while ((await rescue()).length === 0)
        letGo()
        await engine.database.pool.query(`update runs set due_at = now() where id = $1`, [runs[0]])
        expect(resultOf(await engine.reached(runs[0]!, 'succeeded'))).toEqual({ from: 'rescuer' })
        const { rows } = await engine.database.pool.query(
          'select count(*)::int as n from journal where run_id = $1',
          [runs[0]],
        )
        expect(rows).toEqual([{ n: 1 }])
      },
    )
  })
})

describe('a changed flow', () => {
  it('is a version conflict where the journal does not fit, never a wrong result', async () => {
    const before = flow(async ({ use, sleep }) => {
      await use(acme).things.create({ amount: 1 })
      await sleep('1 day')
    })
    const after = flow(async ({ use, sleep }) => {
      await use(acme).things.create({ amount: 2 })
      await sleep('1 day')
    })
    const first = await startTestEngine(testDatabase, { flows: [before] })
    const { runs } = await first.deliver('thing.happened', { n: 1 })
    await first.reached(runs[0]!, 'waiting')
    await sleptEnough(first, runs[0]!)
    await first.stop()
    await withEngine({ flows: [after] }, async (engine) => {
      const run = await engine.reached(runs[0]!, 'held', 'succeeded')
      expect(run.state).toBe('held')
      expect(run.reason_code).toBe('version_conflict')
    })
    await withEngine({ flows: [before] }, async (engine) => {
      await engine.operator.retry(runs[0]!, { actor: 'operator:test', tenant: 'default' })
      await engine.reached(runs[0]!, 'succeeded')
    })
  })
})
