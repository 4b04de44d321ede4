import { describe, expect, it } from 'vitest'
import { acme, CONNECTION, exchange, made } from '../../tests/support/engine.ts'
import { acting, flow, withEngines } from '../../tests/support/runBench.ts'
import { DAY, HOUR, systemClock } from '../base/index.ts'
import type { CallOutcome, CallRequest } from '../calls/index.ts'
import { transaction, type Database } from '../db/index.ts'
import type { AnyFlow } from '../define/index.ts'
import { claimRuns } from '../flows/claim.ts'
import { writeEntries } from '../ledger/index.ts'
import { beginHold, readHolds, reportHold } from './index.ts'

const now = (): number => systemClock.now()
const notFound: CallOutcome = { as: 'not_found', exchange }

/** A restore as `trestle restore` marks it: what was done in the hour before is not known. */
async function restored(database: Database, lost = { from: now() - HOUR, to: now() + 5 }): Promise<void> {
  await transaction(database.pool, (client) =>
    beginHold(
      client,
      { kind: 'restored', reason: 'A test.', actor: 'operator:test', now: now(), lost },
      writeEntries,
    ),
  )
}

describe('in hold', () => {
  it('a claim gives nothing and leaves everything as it was, whatever its node knows', () =>
    withEngines(async (start) => {
      const t = await start({ flows: [flow(() => 1)], idle: true })
      const { runs } = await t.deliver('thing.happened', { n: 1 })
      const ref = { tenant: acting.tenant, id: runs[0]! }
      const claim = (): Promise<readonly { readonly id: string }[]> =>
        claimRuns([ref], [], {
          database: t.database,
          node: 'nod_1',
          now: now(),
          drop: () => Promise.resolve(),
        })
      await t.operator.hold({ reason: 'A look.' }, acting)
      expect(await claim()).toEqual([])
      const { rows } = await t.database.pool.query('select state, fence, node_id from runs')
      expect(rows).toEqual([{ state: 'queued', fence: '0', node_id: null }])
      await t.operator.releaseHold(acting)
      expect((await claim()).map(({ id }) => id)).toEqual(runs)
    }))

  it('what comes in is kept and nothing is claimed, until a person releases it', () =>
    withEngines(async (start) => {
      const sent: string[] = []
      const t = await start({
        flows: [flow(({ use }) => use(acme).things.create({}))],
        call: ({ stepName }) => (sent.push(stepName), made()),
      })
      const hold = await t.operator.hold({ reason: 'A look.' }, acting)
      const { runs } = await t.deliver('thing.happened', { n: 1 })
      // This engine knows nothing of the hold: the claim itself asks the database. Another event passes through it.
      await t.deliver('thing.happened', { n: 2 })
      const claimed = await t.database.pool.query('select 1 from runs where fence > 0')
      expect({ claimed: claimed.rowCount, sent }).toEqual({ claimed: 0, sent: [] })
      await expect(t.operator.hold({ reason: 'Again.' }, acting)).rejects.toMatchObject({
        code: 'state_conflict',
      })
      expect(await t.operator.releaseHold(acting)).toEqual([hold])
      await t.database.pool.query('update runs set due_at = now()')
      await t.reached(runs[0]!, 'succeeded')
      await expect(t.operator.releaseHold(acting)).rejects.toMatchObject({ code: 'state_conflict' })
      const { rows } = await t.database.pool.query(
        `select action, actor, outcome from ledger where action like 'hold.%' order by id`,
      )
      expect(rows).toEqual([
        { action: 'hold.begun', actor: 'operator:test', outcome: 'operator' },
        { action: 'hold.released', actor: 'operator:test', outcome: 'released' },
      ])
    }))
})

/** Delivers, loses an hour, lets the engine go on by what it read of it, and tells what was sent. */
async function afterALostHour(
  run: AnyFlow,
  call: (request: CallRequest) => CallOutcome,
  options: {
    readonly blind?: boolean
    readonly before?: (database: Database, lostTo: number) => Promise<unknown>
  } = {},
): Promise<{ readonly sent: string[]; readonly state: string; readonly reason: string | null }> {
  let told = { sent: [] as string[], state: '', reason: null as string | null }
  await withEngines(async (start) => {
    const sent: string[] = []
    const lost = { times: [] as Awaited<ReturnType<typeof readHolds>>['lostTimes'] }
    const t = await start({
      flows: [run],
      idle: true,
      lostTimes: () => lost.times,
      async call(request) {
        await request.begin?.({} as never)
        sent.push(`${request.kind} ${request.stepName} ${request.idempotencyKey.slice(0, 8)}`)
        return call(request)
      },
    })
    const { runs } = await t.deliver('thing.happened', { n: 1 }, 'evt_always_the_same')
    const hour = { from: now() - HOUR, to: now() + 5 }
    await options.before?.(t.database, hour.to)
    await restored(t.database, hour)
    if (!options.blind) lost.times = (await readHolds(t.database.pool)).lostTimes
    await t.operator.releaseHold(acting)
    await t.engine.start()
    const { state, reason } = await t.reached(runs[0]!, 'succeeded', 'held', 'dead_lettered')
    told = { sent, state, reason }
  })
  return told
}

describe('after a lost hour a call without a result', () => {
  it('is sent with the key that it had then, whatever run sends it', async () => {
    const once = flow(({ use }) => use(acme).things.create({}))
    const first = await afterALostHour(once, () => made())
    const second = await afterALostHour(once, () => made())
    expect(first.sent).toHaveLength(1)
    // Another database, which never heard of the first run: the event is the same, so the key is.
    expect(second.sent).toEqual(first.sent)
  })

  it('is asked about first where the provider can be asked, and not done again', async () => {
    const { sent, state } = await afterALostHour(
      flow(({ use }) => use(acme).things.find({})),
      ({ kind }) => (kind === 'lookup' ? made() : made('twice')),
    )
    expect(sent.map((one) => one.split(' ')[0])).toEqual(['lookup'])
    expect(state).toBe('succeeded')
  })

  it('is asked about in two generations before it is done: the former life may have come to the second', async () => {
    const { sent, state } = await afterALostHour(
      flow(({ use }) => use(acme).things.find({})),
      ({ kind }) => (kind === 'lookup' ? notFound : made()),
    )
    expect(sent.map((one) => one.split(' ')[0])).toEqual(['lookup', 'lookup', 'send'])
    expect(new Set(sent.map((one) => one.split(' ')[2])).size).toBe(3)
    expect(state).toBe('succeeded')
  })

  it('is asked about in every later step of the run, too', async () => {
    const { sent } = await afterALostHour(
      flow(async ({ use }) => {
        await use(acme).things.find({ first: true }, { as: 'first' })
        await use(acme).things.find({ second: true }, { as: 'second' })
      }),
      ({ kind }) => (kind === 'lookup' ? made() : made('twice')),
    )
    expect(sent.map((one) => one.split(' ').slice(0, 2).join(' '))).toEqual(['lookup first', 'lookup second'])
  })

  it('waits for a person where nobody can tell, and is done once after the word', () =>
    withEngines(async (start) => {
      const sent: string[] = []
      const lost = { times: [] as Awaited<ReturnType<typeof readHolds>>['lostTimes'] }
      const t = await start({
        flows: [flow(({ use }) => use(acme).things.post({}))],
        idle: true,
        lostTimes: () => lost.times,
        call: async (request) => (await request.begin?.({} as never), sent.push(request.kind), made()),
      })
      const { runs } = await t.deliver('thing.happened', { n: 1 })
      await restored(t.database)
      lost.times = (await readHolds(t.database.pool)).lostTimes
      await t.operator.releaseHold(acting)
      await t.engine.start()
      const held = await t.reached(runs[0]!, 'held')
      expect(held).toMatchObject({
        reason_code: 'outcome_unknown',
        reason: expect.stringMatching(/put back from a copy/),
      })
      expect(sent).toEqual([])
      await t.operator.settle(runs[0]!, { as: 'not_done', step: 'acme.things.post' }, acting)
      await t.reached(runs[0]!, 'succeeded')
      expect(sent).toEqual(['send'])
    }))

  it('is done at once where its run slept beyond the lost hour', async () => {
    const { sent, state } = await afterALostHour(
      flow(async ({ sleep, use }) => {
        await sleep('1 day')
        await use(acme).things.post({})
      }),
      () => made(),
      {
        // Suspended in its sleep; the sleep ends right after the hour.
        before: (database, lostTo) =>
          database.pool.query(
            `update runs set state = 'waiting', due_at = $1, fence = 1,
               waits = '[{"kind":"sleep","name":"sleep","ordinal":1,"until":' || $2::text || '}]'`,
            [new Date(lostTo + 1), lostTo + 1],
          ),
      },
    )
    expect({ sent: sent.length, state }).toEqual({ sent: 1, state: 'succeeded' })
  })

  it('past the lifetime of its key is not sent with it', async () => {
    const lifetime = 86_400_000
    expect(lifetime).toBe(DAY)
    let state = ''
    let reason: string | null = null
    await withEngines(async (start) => {
      const t = await start({
        flows: [flow(({ use }) => use(acme).things.create({}))],
        idle: true,
        lostTimes: () => [{ id: 'hld_old', from: now() - 2 * DAY, to: now() + 1_000 }],
      })
      const { runs } = await t.deliver('thing.happened', { n: 1 })
      await t.engine.start()
      ;({ state, reason } = await t.reached(runs[0]!, 'held', 'succeeded'))
    })
    expect(state).toBe('held')
    expect(reason).toMatch(/put back from a copy/)
  })

  it('control: an engine that knows of no lost hour does it again, and the tests above notice', async () => {
    const blind = await afterALostHour(
      flow(({ use }) => use(acme).things.find({})),
      () => made(),
      { blind: true },
    )
    expect(blind.sent.map((one) => one.split(' ')[0])).toEqual(['send'])
  })
})

describe('a run that comes after a lost hour', () => {
  it('for an event dated within it is in doubt, and for a later one is not', () =>
    withEngines(async (start) => {
      const sent: string[] = []
      const t = await start({
        flows: [flow(({ use }) => use(acme).things.find({}))],
        idle: true,
        lostTimes: () => [{ id: 'hld_1', from: now() - HOUR, to: now() - 10 * 60_000 }],
        call: async (request) => (await request.begin?.({} as never), sent.push(request.kind), made()),
      })
      const old = await t.deliver('thing.happened', { n: 1 })
      await t.database.pool.query('update events set occurred_at = $1 where id = $2', [
        new Date(now() - 20 * 60_000),
        old.event,
      ])
      await t.engine.start()
      await t.reached(old.runs[0]!, 'succeeded')
      expect(sent).toEqual(['lookup'])
      const fresh = await t.deliver('thing.happened', { n: 2 })
      await t.reached(fresh.runs[0]!, 'succeeded')
      expect(sent).toEqual(['lookup', 'send'])
    }))
})

describe('the report', () => {
  it('names what was in flight, what slept, and the newest event that is known', () =>
    withEngines(async (start) => {
      const t = await start({ flows: [flow(() => 1)], idle: true })
      const first = await t.deliver('thing.happened', { n: 1 })
      const second = await t.deliver('thing.happened', { n: 2 })
      await t.database.pool.query(
        `update runs set state = 'waiting', due_at = now() + interval '1 day', waits = '[{"kind":"sleep","name":"sleep","ordinal":1,"until":1}]' where id = $1`,
        [first.runs[0]],
      )
      await restored(t.database, { from: now() - HOUR, to: now() + 5 })
      const report = await reportHold(t.database.pool, 'default')
      expect(report).toMatchObject({
        hold: { kind: 'restored' },
        counts: [{ flow: 'test', state: 'queued', runs: 1, withOpenAttempt: 0 }],
        runs: [{ id: second.runs[0], state: 'queued' }],
        untouched: 1,
        unknownSince: [{ connection: 'acme', lastEvent: { id: second.event }, grant: false }],
      })
      expect(CONNECTION).toBe('con_acme')
      const { rows } = await t.database.pool.query(
        `select action from ledger where action like 'hold.%' or action like 'database.%' order by action`,
      )
      expect(rows.map(({ action }) => action)).toEqual(['database.restored', 'hold.begun'])
    }))
})
