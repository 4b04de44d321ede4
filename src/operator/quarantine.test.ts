import { describe, expect, it } from 'vitest'
import type { CallOutcome } from '../calls/index.ts'
import { acme, CONNECTION, exchange, made, TENANT } from '../../tests/support/engine.ts'
import { acting, flow, gate, quarantinedIn, withEngines } from '../../tests/support/runBench.ts'

const quarantined = (): CallOutcome =>
  ({
    as: 'quarantined',
    path: '/a',
    reason: 'is no number',
    payload: Buffer.from('{"a":1}'),
    exchange,
  }) as unknown as CallOutcome

describe('a quarantined answer', () => {
  it('released while another branch of its run still executes lets the run go on', () =>
    withEngines(async (start) => {
      const slow = gate()
      const t = await start({
        flows: [
          flow(({ use, step }) =>
            Promise.all([use(acme).things.create({}), step('slow', () => slow.passed)]),
          ),
        ],
        call: () => quarantined(),
      })
      const { runs } = await t.deliver('thing.happened', { n: 1 })
      await t.operator.release(await quarantinedIn(t), acting)
      slow.open()
      await t.reached(runs[0]!, 'succeeded')
    }))

  it('released while its run executes does not keep the run from being rescued', () =>
    withEngines(async (start) => {
      let first = true
      const twoBranches = flow(({ use, step }) =>
        Promise.all([
          use(acme).things.create({}),
          step('slow', () => (first ? ((first = false), gate().passed) : undefined)),
        ]),
      )
      const t = await start({ flows: [twoBranches], call: () => quarantined() })
      const { runs } = await t.deliver('thing.happened', { n: 1 })
      await t.operator.release(await quarantinedIn(t), acting)
      // Its node dies: another takes it for dead.
      await t.database.pool.query(
        `update nodes set stopped_at = now(), heartbeat_at = now() - interval '1 minute'`,
      )
      const other = await start({ flows: [twoBranches], call: () => made() })
      await other.reached(runs[0]!, 'succeeded')
    }))

  it.each(['release', 'discard'] as const)('changes nothing of a run that has ended (%s)', (action) =>
    withEngines(async (start) => {
      const t = await start({
        flows: [flow(({ use }) => use(acme).things.create({}))],
        call: () => quarantined(),
      })
      const { runs } = await t.deliver('thing.happened', { n: 1 })
      await t.reached(runs[0]!, 'held')
      await t.operator.settle(runs[0]!, { as: 'done', step: 'acme.things.create', result: {} }, acting)
      await t.reached(runs[0]!, 'succeeded')
      await t.operator[action](await quarantinedIn(t), acting)
      const { rows } = await t.database.pool.query(
        'select r.state, q.state as word from runs r, quarantine q',
      )
      expect(rows).toEqual([{ state: 'succeeded', word: action === 'release' ? 'released' : 'discarded' }])
    }),
  )
})

describe('a quarantined event', () => {
  const answered = (n: unknown) => {
    const body = { id: 'evt_answer', type: 'thing.happened', data: { n, customer: 'c' } } as never
    return {
      tenant: TENANT,
      connectionId: CONNECTION,
      connectionName: 'acme',
      connector: acme,
      headers: [],
      contentType: 'application/json',
      body: Buffer.from(JSON.stringify(body)),
      receivedAt: 0,
      parsed: body,
      events: [{ id: 'evt_answer', type: 'thing.happened', at: '/data' }],
      contentUnique: false,
    }
  }

  it('that is released starts its flows, is findable by its fields, and wakes who waits for it', () =>
    withEngines(async (start) => {
      let broken = true
      const waiting = flow(
        ({ waitFor }) =>
          waitFor(acme.on('thing.happened'), { on: 'data.customer', equals: 'c', timeout: '30 days' }),
        { on: acme.on('thing.answered') },
      )
      const other = flow(() => 1, {
        name: 'other',
        key: () => {
          if (broken) throw new Error('a bug')
          return 'k'
        },
      })
      const t = await start({ flows: [waiting, other] })
      const { runs } = await t.deliver('thing.answered', {})
      await t.reached(runs[0]!, 'waiting')
      // From here on only the release itself can make it ready.
      await t.engine.stop()
      await t.inbox.accept(answered(1))
      broken = false
      const released = await t.operator.release(await quarantinedIn(t), acting)
      expect(released.runs).toHaveLength(1)
      const { rows: fields } = await t.database.pool.query('select field, value from event_fields')
      expect(fields).toEqual([{ field: 'data.customer', value: 'c' }])
      const { rows } = await t.database.pool.query(
        `select state, summary from events where type = 'thing.happened'`,
      )
      expect(rows).toEqual([{ state: 'dispatched', summary: 'a thing happened' }])
      expect((await t.reached(runs[0]!, 'waiting', 'queued')).state).toBe('queued')
    }))

  it('stays so where it still cannot pass', () =>
    withEngines(async (start) => {
      const t = await start({ flows: [flow(() => 1)], idle: true })
      await t.inbox.accept(answered('no number'))
      const id = await quarantinedIn(t)
      await expect(t.operator.release(id, acting)).rejects.toMatchObject({ code: 'still_quarantined' })
      const { rows } = await t.database.pool.query('select state, settled_by from quarantine')
      expect(rows).toEqual([{ state: 'quarantined', settled_by: null }])
      const event = await t.database.pool.query('select id from events')
      await expect(
        t.operator.replayEvent(event.rows[0].id, { ...acting, repeatEffects: true }),
      ).rejects.toMatchObject({ code: 'state_conflict' })
    }))

  it('that stands for a delivery from which none was read says what to do instead', () =>
    withEngines(async (start) => {
      const t = await start({ flows: [flow(() => 1)], idle: true })
      await t.inbox.accept({
        ...answered(1),
        events: Array.from({ length: 1_001 }, (_, i) => ({
          id: `e${i}`,
          type: 'thing.happened',
          at: '/data',
        })),
      })
      const id = await quarantinedIn(t)
      await expect(t.operator.release(id, acting)).rejects.toThrow(
        /carries 1001 events.*Discard it and let the provider send it again/,
      )
      await t.operator.discard(id, acting)
      const { rows } = await t.database.pool.query('select state from events')
      expect(rows).toEqual([{ state: 'discarded' }])
    }))
})
