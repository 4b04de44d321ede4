import { describe, expect, it } from 'vitest'
import type { CallOutcome } from '../../src/calls/index.ts'
import { acme, doubted, made, TENANT } from '../support/engine.ts'
import { attack, flow, pauseMs, stateOf, undisturbed } from './support.ts'

const acting = { actor: 'operator:test' as const, tenant: TENANT }
const notFound = { as: 'not_found', exchange: { status: 200, ms: 1 } } as unknown as CallOutcome

describe('a cancelled run', () => {
  it('with two calls in doubt sends neither again after the provider says that it was not done', () =>
    attack(async (start) => {
      const sends: string[] = []
      let cancelled = false
      const two = flow(({ use }) =>
        Promise.all(['a', 'b'].map((as) => use(acme).things.find({ as }, { as }))),
      )
      const t = await start({
        flows: [two],
        call: async (request) => {
          await request.begin?.({} as never)
          if (request.kind === 'send') {
            sends.push(request.stepName)
            return cancelled ? made() : doubted()
          }
          // oxlint-disable-next-line no-unmodified-loop-condition -- set by a callback
          while (!cancelled) await pauseMs(5)
          await pauseMs(request.stepName === 'a' ? 5 : 400) // b's look-up takes longer
          return notFound
        },
      })
      const { runs } = await t.deliver('thing.happened', { n: 1 })
      while (sends.length < 2) await pauseMs(5)
      await pauseMs(150)
      await t.operator.cancel(runs[0]!, acting)
      cancelled = true
      await stateOf(t, runs[0]!, 'cancelled')
      expect(sends.toSorted()).toEqual(['a', 'b'])
    }))

  it('whose code was changed keeps its payment in doubt', () =>
    attack(async (start) => {
      let version = 1
      const changed = flow(async ({ use, step }) => {
        await step(version === 1 ? 'first' : 'renamed', () => 1)
        await use(acme).things.post({})
      })
      const t = await start({
        flows: [changed],
        call: async (request) => (await request.begin?.({} as never), doubted()),
      })
      const { runs } = await t.deliver('thing.happened', { n: 1 })
      await t.reached(runs[0]!, 'held')
      version = 2
      await t.operator.cancel(runs[0]!, acting)
      expect((await stateOf(t, runs[0]!, 'held', 'cancelled')).state).toBe('held')
    }))

  it('ends soon, although it is behind another in its lane that sleeps', () =>
    attack(async (start) => {
      const t = await start({ flows: [flow(({ sleep }) => sleep('30 days'), { key: () => 'one' })] })
      const first = await t.deliver('thing.happened', { n: 1 })
      await t.reached(first.runs[0]!, 'waiting')
      const second = await t.deliver('thing.happened', { n: 2 })
      await t.operator.cancel(second.runs[0]!, acting)
      expect((await stateOf(t, second.runs[0]!, 'cancelled')).state).toBe('cancelled')
    }))
})

describe('what the flow gives', () => {
  it.each([
    ['undefined', undefined],
    ['null', null],
    ['a big integer', 2n ** 70n],
    ['minus zero', -0],
    ['text of odd characters', '\u0000\ud800'],
  ])('%s comes back as it was', (_, value) =>
    undisturbed(async (start) => {
      const seen: unknown[] = []
      const t = await start({
        flows: [
          flow(async ({ step, waitFor }) => {
            seen.push(await step('s', () => value))
            await waitFor(acme.on('thing.answered'), { on: 'data.customer', equals: 'c', timeout: '1 day' })
          }),
        ],
      })
      const { runs } = await t.deliver('thing.happened', { n: 1 })
      await t.reached(runs[0]!, 'waiting')
      await t.deliver('thing.answered', { customer: 'c' })
      expect((await stateOf(t, runs[0]!, 'succeeded', 'dead_lettered')).state).toBe('succeeded')
      expect(seen).toEqual([value, value])
    }),
  )

  it('a number beyond 2^53 comes back as a number', () =>
    undisturbed(async (start) => {
      const seen: unknown[] = []
      const t = await start({
        flows: [flow(async ({ step }) => void seen.push(await step('s', () => 1e18)))],
      })
      const { runs } = await t.deliver('thing.happened', { n: 1 })
      await stateOf(t, runs[0]!, 'succeeded', 'dead_lettered')
      expect(seen).toEqual([1e18])
    }))

  it('ten thousand steps succeed', () =>
    attack(async (start) => {
      const t = await start({
        flows: [
          flow(async ({ step }) => {
            for (let i = 0; i < 100; i++)
              await Promise.all(Array.from({ length: 100 }, () => step('s', () => 1)))
          }),
        ],
      })
      const { runs } = await t.deliver('thing.happened', { n: 1 })
      expect((await stateOf(t, runs[0]!, 'succeeded', 'dead_lettered')).state).toBe('succeeded')
    }))
})

describe('an undo', () => {
  it('during which the database blinks goes on', () =>
    attack(async (start) => {
      let tries = 0
      const t = await start({
        flows: [
          flow(async ({ use }) => {
            await use(acme).things.create({}, { undo: () => use(acme).things.remove({}) })
            throw new Error('no')
          }),
        ],
        call: (request) =>
          request.operationName === 'things.remove' && ++tries === 1
            ? Promise.reject(Object.assign(new Error('connect ECONNREFUSED'), { code: 'ECONNREFUSED' }))
            : made(),
      })
      const { runs } = await t.deliver('thing.happened', { n: 1 })
      expect((await stateOf(t, runs[0]!, 'undone', 'held')).state).toBe('undone')
    }))

  it('in a race with sleeps, of steps in catch and finally, undoes all, last first', () =>
    attack(async (start) => {
      const undone: unknown[] = []
      const odd = flow(async ({ use, sleep }) => {
        const things = use(acme).things
        const make = (as: string) => things.create({ as }, { as, undo: () => things.remove({ as }) })
        try {
          await Promise.race([make('a'), sleep(5)])
          await Promise.all([make('b'), Promise.race([make('c'), sleep('1 hour')])])
          throw new Error('x')
        } catch (error) {
          await make('caught')
          throw error
        } finally {
          await make('finally')
        }
      })
      const t = await start({
        flows: [odd],
        call: ({ operationName, input }) => (
          operationName === 'things.remove' && undone.push((input as { as: string }).as),
          made()
        ),
      })
      const { runs } = await t.deliver('thing.happened', { n: 1 })
      expect((await stateOf(t, runs[0]!, 'undone', 'held', 'dead_lettered')).state).toBe('undone')
      expect(undone.slice(0, 2)).toEqual(['finally', 'caught'])
      expect(new Set(undone)).toEqual(new Set(['a', 'b', 'c', 'caught', 'finally']))
    }))
})
