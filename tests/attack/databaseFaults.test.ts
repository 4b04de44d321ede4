import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type pg from 'pg'
import { acme, made } from '../support/engine.ts'
import { attack, cutOnce, flow, pauseMs, stateOf } from './support.ts'

const unhandled: unknown[] = []
const note = (reason: unknown): void => void unhandled.push(reason)
beforeAll(() => void process.on('unhandledRejection', note))
afterAll(() => void process.off('unhandledRejection', note))

describe('the database blinks', () => {
  it('between the commit of a claim and the load of the journal: the run goes on', () =>
    attack(async (start) => {
      const t = await start({
        flows: [
          flow(async ({ waitFor }) => {
            await waitFor(acme.on('thing.answered'), { on: 'data.customer', equals: 'c', timeout: '1 day' })
          }),
        ],
      })
      const { runs } = await t.deliver('thing.happened', { n: 1 })
      await t.reached(runs[0]!, 'waiting')
      const cut = cutOnce(t, 'load_journal')
      await t.deliver('thing.answered', { customer: 'c' })
      const row = await stateOf(t, runs[0]!, 'succeeded')
      expect(cut.hit).toBe(true)
      expect(row.state).toBe('succeeded')
    }))

  it('so that a claim is committed without an answer: the run goes on', () =>
    attack(async (start) => {
      const t = await start({ flows: [flow(() => 1)], idle: true })
      const pool = t.database.pool
      const connect = pool.connect.bind(pool) as () => Promise<pg.PoolClient>
      let cut = false
      Object.assign(pool, {
        connect: async (...args: unknown[]) => {
          if (args.length > 0) return (connect as (...a: unknown[]) => unknown)(...args)
          const client = await connect()
          const query = client.query.bind(client) as (...a: unknown[]) => Promise<unknown>
          let claims = false
          return new Proxy(client, {
            get(target, key) {
              if (key !== 'query') {
                const value = Reflect.get(target, key) as unknown
                return typeof value === 'function' ? (value as () => unknown).bind(target) : value
              }
              return async (...a: unknown[]) => {
                if ((a[0] as { name?: string }).name === 'claim_runs') claims = true
                const result = await query(...a)
                if (a[0] === 'commit' && claims && !cut) {
                  cut = true
                  throw Object.assign(new Error('Connection terminated unexpectedly'), {})
                }
                return result
              }
            },
          })
        },
      })
      const { runs } = await t.deliver('thing.happened', { n: 1 })
      await t.engine.start()
      const row = await stateOf(t, runs[0]!, 'succeeded')
      expect(cut).toBe(true)
      expect(row.state).toBe('succeeded')
    }))

  it('while a run looks for its awaited event: nothing is undone or given up', () =>
    attack(async (start) => {
      const calls: string[] = []
      const t = await start({
        flows: [
          flow(async ({ use, waitFor }) => {
            await use(acme).things.create({}, { undo: () => use(acme).things.remove({}) })
            await waitFor(acme.on('thing.answered'), { on: 'data.customer', equals: 'c', timeout: '1 hour' })
          }),
        ],
        call: (request) => (calls.push(request.operationName), made()),
      })
      const cut = cutOnce(t, 'find_awaited_event')
      const { runs } = await t.deliver('thing.happened', { n: 1 })
      const row = await stateOf(t, runs[0]!, 'waiting', 'undone', 'dead_lettered')
      expect(cut.hit).toBe(true)
      expect({ state: row.state, calls }).toEqual({ state: 'waiting', calls: ['things.create'] })
    }))

  it('while a call is authorized: the call is made later, the run is no dead letter', () =>
    attack(async (start) => {
      let calls = 0
      const t = await start({
        flows: [flow(({ use }) => use(acme).things.create({}))],
        // What makeCall does with a fault of the database: it throws it on.
        call: () =>
          ++calls === 1
            ? Promise.reject(Object.assign(new Error('connect ECONNREFUSED'), { code: 'ECONNREFUSED' }))
            : made(),
      })
      const { runs } = await t.deliver('thing.happened', { n: 1 })
      expect((await stateOf(t, runs[0]!, 'succeeded', 'dead_lettered')).state).toBe('succeeded')
    }))
})

describe('one run', () => {
  it('with a very long step name fails no other run', () =>
    attack(async (start) => {
      const { randomBytes } = await import('node:crypto')
      const long = randomBytes(6000).toString('hex')
      let release = (): void => {}
      const gate = new Promise<void>((resolve) => (release = resolve))
      const t = await start({
        flows: [
          flow(async ({ event, step }) =>
            step(event.data.n === 0 ? long : 'short', async () => (await gate, event.data.n)),
          ),
        ],
      })
      const runs: string[] = []
      for (let n = 0; n < 20; n++) runs.push((await t.deliver('thing.happened', { n })).runs[0]!)
      while (t.engine.size < 19) await pauseMs(20)
      release()
      const states: string[] = []
      for (const run of runs.slice(1))
        states.push((await stateOf(t, run, 'succeeded', 'dead_lettered')).state)
      expect(new Set(states)).toEqual(new Set(['succeeded']))
    }))

  it('whose step returns an array with holes does not take the process down', () =>
    attack(async (start) => {
      unhandled.length = 0
      const t = await start({ flows: [flow(({ step }) => step('sparse', () => [1, , 3]))] }) // oxlint-disable-line no-sparse-arrays
      const { runs } = await t.deliver('thing.happened', { n: 1 })
      const row = await stateOf(t, runs[0]!, 'succeeded', 'dead_lettered')
      expect(unhandled.map(String)).toEqual([])
      expect(row.state).not.toBe('running')
    }))

  it('whose second step of two fails while the first is awaited does not take the process down', () =>
    attack(async (start) => {
      unhandled.length = 0
      const t = await start({
        flows: [
          flow(async ({ step }) => {
            const slow = step('slow', () => pauseMs(200))
            const fails = step('fails', () => Promise.reject(new Error('no')))
            await slow
            await fails.catch(() => {})
          }),
        ],
      })
      const { runs } = await t.deliver('thing.happened', { n: 1 })
      await stateOf(t, runs[0]!, 'succeeded', 'dead_lettered')
      expect(unhandled.map(String)).toEqual([])
    }))
})
