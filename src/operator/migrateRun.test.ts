import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createTestDatabase, type TestDatabase } from '../../tests/support/database.ts'
import { acme, startTestEngine, type TestEngine } from '../../tests/support/engine.ts'
import { acting } from '../../tests/support/runBench.ts'
import { systemClock, type RunId } from '../base/index.ts'
import { defineFlow, type AnyFlow, type FlowContext } from '../define/index.ts'
import { createFlowTable } from '../inbox/index.ts'
import { lookAtRunsInFlight, type FlowInFlight } from './index.ts'

let testDatabase: TestDatabase
beforeAll(async () => {
  testDatabase = await createTestDatabase()
})
afterAll(() => testDatabase.drop())

let named = 0
/** Names of a test's own: tests share a database. */
const name = (): string => `versioned-${++named}`

/** What fails is not tried again while something is looked at. */
const retry = { first: '9 days', cap: '9 days', horizon: '90 days' } as const
const flow = (name: string, version: number, run: (context: FlowContext) => unknown): AnyFlow =>
  defineFlow({ name, version, on: acme.on('thing.happened'), retry, run }) as AnyFlow

/** A run that has done one step of version 1 and sleeps; then the engine of the old code is gone. */
async function sleeping(name: string, first: (context: FlowContext) => unknown): Promise<RunId> {
  const old = await startTestEngine(testDatabase, {
    flows: [
      flow(name, 1, async (context) => {
        await first(context)
        await context.sleep('1 day')
        return 1
      }),
    ],
  })
  const { runs } = await old.deliver('thing.happened', { n: 1 })
  await old.reached(runs[0]!, 'waiting')
  await old.stop()
  return runs[0]!
}

const made = ({ use }: FlowContext): Promise<unknown> => use(acme).things.create({ a: 1 })

async function inFlight(engine: TestEngine, flows: readonly AnyFlow[]): Promise<FlowInFlight | undefined> {
  const found = await lookAtRunsInFlight({
    client: engine.database.pool,
    flows: createFlowTable(flows),
    connectorNamed: (name) => (name === 'acme' ? acme : undefined),
    clock: systemClock,
  })
  return found.find((one) => one.flow === flows[0]!.name)
}

async function withEngine(
  flows: readonly AnyFlow[],
  test: (engine: TestEngine, calls: () => number) => Promise<void>,
): Promise<void> {
  let calls = 0
  const engine = await startTestEngine(testDatabase, {
    flows,
    call: () => {
      calls++
      return { as: 'succeeded', output: {}, summary: 'made', exchange: { status: 200, ms: 1 } as never }
    },
  })
  try {
    await test(engine, () => calls)
  } finally {
    await engine.stop()
  }
}

async function wake(engine: TestEngine, run: RunId): Promise<void> {
  await engine.database.pool.query(
    `update runs set waits = regexp_replace(waits, '"until":[0-9]+', '"until":1'), due_at = now() where id = $1`,
    [run],
  )
}

/** The version that the run goes on with, once it has done the step. */
async function versionAfter(engine: TestEngine, run: RunId, step: string): Promise<number> {
  for (;;) {
    const { rows } = await engine.database.pool.query<{ flow_version: number }>(
      `select flow_version from runs where id = $1 and exists (select 1 from journal where run_id = $1 and name = $2)`,
      [run, step],
    )
    if (rows[0]) return rows[0].flow_version
    await engine.reached(run, 'waiting', 'running', 'queued')
  }
}

describe('changed flows are compared with the runs in flight', () => {
  it('one whose journal the new code asks for goes on, and nothing is done by looking', async () => {
    const of = name()
    const run = await sleeping(of, made)
    let entered = 0
    const second = flow(of, 2, async (context) => {
      entered++
      await made(context)
      await context.sleep('1 day')
      return context.step('added', () => 2)
    })
    await withEngine([second], async (engine, calls) => {
      const found = await inFlight(engine, [second])
      expect(found).toMatchObject({
        version: 2,
        compared: 1,
        conflicts: [],
        runs: [{ version: 1, count: 1 }],
      })
      expect(entered).toBe(1)
      expect(calls()).toBe(0)
      await wake(engine, run)
      expect((await engine.reached(run, 'succeeded')).result?.toString()).toBe('2')
    })
  })

  it('one whose steps the new code asks for with another input is named with the difference', async () => {
    const of = name()
    const run = await sleeping(of, made)
    const changed = flow(of, 2, ({ use }) => use(acme).things.create({ a: 2 }))
    await withEngine([], async (engine) => {
      const found = await inFlight(engine, [changed])
      expect(found?.conflicts).toEqual([
        { run, version: 2, reason: expect.stringContaining('with another input') as string },
      ])
    })
  })

  it('one that waits at a call which was begun, and which the new code does not ask for, is named', async () => {
    const of = name()
    const old = await startTestEngine(testDatabase, {
      flows: [flow(of, 1, made)],
      call: () => ({ as: 'failed', retryable: true, newKey: false, code: 'x', reason: 'later' }),
    })
    const { runs } = await old.deliver('thing.happened', { n: 1 })
    await old.reached(runs[0]!, 'waiting')
    await old.stop()
    await withEngine([], async (engine) => {
      const found = await inFlight(engine, [flow(of, 2, ({ sleep }) => sleep('1 day'))])
      expect(found?.conflicts.map((one) => one.run)).toEqual(runs)
    })
  })

  it('one that a newer version went on with is left to the nodes that have it', async () => {
    const of = name()
    const run = await sleeping(of, made)
    const second = flow(of, 2, async (context) => {
      await made(context)
      await context.sleep('1 day')
      await context.step('second', () => 2)
      await context.sleep('2 days')
    })
    await withEngine([second], async (engine) => {
      await wake(engine, run)
      expect(await versionAfter(engine, run, 'second')).toBe(2)
      await engine.reached(run, 'waiting')
    })
    const first = flow(of, 1, made)
    await withEngine([first], async (engine) => {
      expect(await inFlight(engine, [first])).toMatchObject({ newer: 1, compared: 0 })
      await wake(engine, run)
      expect((await engine.reached(run, 'queued')).reason_code).toBeNull()
    })
  })
})

describe('the ways out', () => {
  const changed = (of: string): AnyFlow =>
    flow(of, 2, async (context) => {
      await context.use(acme).things.create({ a: 2 }, { as: 'made' })
      await context.sleep('1 day')
      return 2
    })

  it('finish on the old version: it stands beside the new one, and the run goes on with it', async () => {
    const of = name()
    const run = await sleeping(of, made)
    await withEngine([changed(of)], async (engine) => {
      await wake(engine, run)
      expect((await engine.reached(run, 'held')).reason_code).toBe('version_conflict')
    })
    const both = [
      changed(of),
      flow(of, 1, async (context) => {
        await made(context)
        await context.sleep('1 day')
        return 1
      }),
    ]
    await withEngine(both, async (engine) => {
      expect((await inFlight(engine, both))?.conflicts).toEqual([])
      await engine.operator.retry(run, acting)
      expect((await engine.reached(run, 'succeeded')).result?.toString()).toBe('1')
    })
  })

  it('migrate: what does not fit is refused with the difference; made to fit it goes on', async () => {
    const of = name()
    const run = await sleeping(of, made)
    await withEngine([changed(of)], async (engine, calls) => {
      const migrate = (migration: Parameters<typeof engine.operator.migrate>[1]): Promise<void> =>
        engine.operator.migrate(run, migration, acting)
      await expect(migrate({})).rejects.toThrow(/no longer asks for/)
      await expect(migrate({ rename: { 'acme.things.create': 'made' } })).rejects.toThrow(/another input/)
      await expect(migrate({ forget: ['acme.things.create'] })).rejects.toThrow(/--forget-effects/)
      await migrate({ forget: ['acme.things.create'], forgetEffects: true })
      await wake(engine, run)
      expect((await engine.reached(run, 'succeeded')).result?.toString()).toBe('2')
      expect(calls()).toBe(1)
      const { rows } = await engine.database.pool.query<{ entry: Buffer }>(
        `select entry from ledger where run_id = $1 and action = 'run.migrated'`,
        [run],
      )
      expect(rows).toHaveLength(1)
      expect(JSON.parse(rows[0]!.entry.toString())).toMatchObject({
        detail: { from: 1, to: 2, forgot: ['acme.things.create#1'] },
      })
    })
  })

  it('cancel: what the run did is undone, although its flow cannot go on', async () => {
    const of = name()
    const run = await sleeping(of, ({ use }) =>
      use(acme).things.create({ a: 1 }, { undo: () => use(acme).things.remove({ a: 1 }) }),
    )
    await withEngine([changed(of)], async (engine, calls) => {
      await wake(engine, run)
      await engine.reached(run, 'held')
      await engine.operator.cancel(run, acting)
      await engine.reached(run, 'cancelled')
      expect(calls()).toBe(1)
    })
  })
})
