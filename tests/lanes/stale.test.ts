import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { seededRandom, type RunId } from '../../src/base/index.ts'
import type { CallRequest } from '../../src/calls/index.ts'
import { defineFlow, type AnyFlow } from '../../src/define/index.ts'
import { createTestDatabase, type TestDatabase } from '../support/database.ts'
import {
  acme,
  CONNECTION,
  failedFor,
  made,
  startTestEngine,
  TENANT,
  type TestEngine,
} from '../support/engine.ts'

/** What the provider tells: a thing has a new version. */
interface Change {
  readonly id: string
  readonly version: number
  readonly text: string
}

let testDatabase: TestDatabase
beforeAll(async () => {
  testDatabase = await createTestDatabase()
})
afterAll(() => testDatabase.drop())

const on = acme.on('thing.happened')
const dated = { ...on, definition: { ...on.definition, datedBy: 'data.version', subject: 'data.customer' } }

/** Copies each change to the other side, as it came. */
function copying(name: string, stale: 'skip' | 'run'): AnyFlow {
  return defineFlow({
    name,
    on: dated,
    key: (event) => event.data['customer'] as string,
    stale,
    retry: { first: 1, cap: 2, attempts: 2 },
    run: ({ event, use }) => use(acme).things.upsert({ flow: name, ...event.data }),
  })
}

/** The other side: what was written last counts. The poisoned change is refused for good. */
function otherSide(): {
  readonly state: Map<string, unknown>
  readonly call: (request: CallRequest) => ReturnType<typeof made>
} {
  const state = new Map<string, unknown>()
  return {
    state,
    call: (request) => {
      const { customer, text, flow } = request.input as Record<string, string>
      if (text === 'poison') return failedFor('refused', false)
      state.set(`${flow} ${customer}`, text)
      return made()
    },
  }
}

async function send(engine: TestEngine, change: Change): Promise<void> {
  const data = { n: 1, customer: change.id, version: change.version, text: change.text }
  const id = `${change.id}-${change.version}`
  await engine.inbox.accept({
    tenant: TENANT,
    endpointId: 'ep_acme',
    connectionId: CONNECTION,
    connectionName: 'acme',
    connector: acme,
    headers: [],
    contentType: 'application/json',
    body: Buffer.from(JSON.stringify({ id, data })),
    receivedAt: Date.now(),
    parsed: { id, data },
    events: [{ id, type: 'thing.happened', at: '/data' }],
    contentUnique: false,
  })
}

async function over(engine: TestEngine): Promise<Record<string, number>> {
  for (;;) {
    const { rows } = await engine.database.pool.query<{ state: string; code: string | null; n: number }>(
      'select state, reason_code as code, count(*)::int as n from runs group by 1, 2',
    )
    const open = rows.filter(({ state }) => !['succeeded', 'cancelled', 'dead_lettered'].includes(state))
    if (open.length === 0) return Object.fromEntries(rows.map(({ state, code, n }) => [code ?? state, n]))
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}

function shuffled<Item>(items: readonly Item[], seed: string): Item[] {
  const random = seededRandom(seed)
  const left = [...items]
  return items.map(() => left.splice(Math.floor(random.next() * left.length), 1)[0]!)
}

const CHANGES = ['a', 'b', 'c', 'd'].flatMap((id) =>
  Array.from({ length: 8 }, (_, i): Change => ({ id, version: i + 1, text: `${id} as of ${i + 1}` })),
)
const ORDERED = Object.fromEntries(['a', 'b', 'c', 'd'].map((id) => [id, `${id} as of 8`]))

async function stateAfter(changes: readonly Change[], name: string, stale: 'skip' | 'run') {
  const side = otherSide()
  const engine = await startTestEngine(testDatabase, { flows: [copying(name, stale)], call: side.call })
  try {
    await engine.database.pool.query('delete from event_keys')
    await engine.database.pool.query('delete from runs')
    for (const change of changes) await send(engine, change)
    const ends = await over(engine)
    const state = Object.fromEntries([...side.state].map(([key, text]) => [key.split(' ')[1], text]))
    return { state, ends, engine }
  } finally {
    await engine.stop()
  }
}

describe('a stream of dated events', () => {
  it.each(['1', '2', '3'])(
    'shuffled and with duplicates gives the state of the ordered one (seed %s)',
    async (seed) => {
      const stream = shuffled([...CHANGES, ...CHANGES.slice(0, 12)], seed)
      const { state, ends } = await stateAfter(stream, `copy-${seed}`, 'skip')
      expect(state).toEqual(ORDERED)
      // Each is kept as a run: applied, or found stale; a duplicate is none.
      expect(ends['succeeded']! + ends['stale']!).toBe(CHANGES.length)
      expect(ends['stale']).toBeGreaterThan(0)
    },
  )

  it('CONTROL: without the check the same stream ends in another state', async () => {
    const { state, ends } = await stateAfter(shuffled(CHANGES, '1'), 'copy-all', 'run')
    expect(state).not.toEqual(ORDERED)
    expect(ends['stale']).toBeUndefined()
  })

  it('does not take an event for applied whose run failed', async () => {
    const newest = { id: 'a', version: 9, text: 'poison' }
    const { state, ends } = await stateAfter([newest, ...CHANGES.slice(0, 8)], 'copy-poison', 'skip')
    expect(state).toEqual({ a: 'a as of 8' })
    expect(ends).toEqual({ refused: 1, succeeded: 8 })
  })

  it('keeps a stale event visible as such, and lets a person replay it', async () => {
    const side = otherSide()
    const engine = await startTestEngine(testDatabase, { flows: [copying('seen', 'skip')], call: side.call })
    try {
      await engine.database.pool.query('delete from event_keys')
      await engine.database.pool.query('delete from runs')
      await send(engine, { id: 'e', version: 2, text: 'new' })
      await send(engine, { id: 'e', version: 1, text: 'old' })
      await over(engine)
      const { rows } = await engine.database.pool.query<Record<string, string>>(
        `select r.id, r.state, r.reason, e.reason as event_reason, l.action from runs r
         join events e on e.id = r.event_id join ledger l on l.run_id = r.id where r.reason_code = 'stale'`,
      )
      expect(rows).toEqual([
        {
          id: expect.stringMatching(/^run_/),
          state: 'cancelled',
          reason: expect.stringMatching(
            /older than one about the same subject .* evt_\w+, by run_\w+\. Nothing/,
          ),
          event_reason: expect.stringContaining('Stale for the flow "seen"'),
          action: 'run.found_stale',
        },
      ])
      expect(side.state.get('seen e')).toBe('new')
      const acting = { actor: 'operator:test', tenant: TENANT, repeatEffects: true } as const
      const replayed = await engine.operator.replayRun(rows[0]!['id'] as RunId, acting)
      await engine.reached(replayed.runs[0]!, 'succeeded')
      expect(side.state.get('seen e')).toBe('old')
    } finally {
      await engine.stop()
    }
  })

  it('compares times to what the provider tells, however fine, and versions exactly', async () => {
    const side = otherSide()
    const engine = await startTestEngine(testDatabase, { flows: [copying('fine', 'skip')], call: side.call })
    const at = (id: string, version: unknown, text: string) =>
      send(engine, { id, version: version as number, text })
    try {
      await engine.database.pool.query('delete from event_keys')
      await engine.database.pool.query('delete from runs')
      await at('t', '2026-11-22T12:00:00.000002Z', 'second')
      await at('t', '2026-11-22T12:00:00.000001Z', 'first')
      await at('t', '2026-11-22T12:00:00.000002+00:00', 'second again')
      await at('v', '9007199254740993', 'bigger')
      await at('v', '9007199254740992', 'smaller')
      await at('u', 'yesterday', 'undated')
      const ends = await over(engine)
      expect(ends).toEqual({ succeeded: 4, stale: 2 })
      expect([side.state.get('fine t'), side.state.get('fine v')]).toEqual(['second again', 'bigger'])
    } finally {
      await engine.stop()
    }
  })
})

describe('a flow that skips stale events', () => {
  const flow = (over: object) => () =>
    defineFlow({ name: 'skips', on: dated, key: () => 'one', stale: 'skip', run: () => 1, ...over })
  it.each([
    ['an event that nobody dates', { on }, 'declares no "datedBy"'],
    ['no key', { key: undefined }, 'needs a "key"'],
    ['lanes that overlap', { hold: 'untilFirstWait' }, 'overlap'],
  ])('is refused with %s', (_, over, why) => {
    expect(flow(over)).toThrow(why)
  })
})
