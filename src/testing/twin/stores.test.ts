import { describe, expect, it } from 'vitest'
import { seededRandom } from '../../base/index.ts'
import { createFakeClock } from '../fakeClock.ts'
import { createBundle } from './bundle.ts'
import { repeatedEffects } from './effects.ts'
import { alterField } from './faults.ts'
import { createLaggingIndex } from './laggingIndex.ts'
import { fieldsOf, textOf, uuidFrom } from './reading.ts'
import { createRollingLimit } from './rollingLimit.ts'
import { matchPath } from './routes.ts'

describe('a lagging index', () => {
  it('sees records, changes and deletions only after the lag', async () => {
    const clock = createFakeClock()
    const index = createLaggingIndex<{ name: string }>({ clock, lagMs: 1000 })
    const ada = { name: 'Ada' }
    index.put('1', ada)
    ada.name = 'changed behind its back'
    expect(index.search()).toEqual([])
    await clock.advance(1000)
    expect(index.search()).toEqual([{ name: 'Ada' }])
    index.put('1', { name: 'Grace' })
    expect(index.search(({ name }) => name === 'Ada')).toHaveLength(1)
    await clock.advance(999)
    index.delete('1')
    expect(index.search()).toEqual([{ name: 'Ada' }])
    await clock.advance(1)
    expect(index.search()).toEqual([{ name: 'Grace' }])
    await clock.advance(1000)
    expect(index.search()).toEqual([])
  })
})

describe('effects', () => {
  it('that happened more than once are found', () => {
    const effect = (kind: string, key: string) => ({ kind, key, ref: '', summary: '' })
    expect(repeatedEffects([effect('a', '1'), effect('a', '2'), effect('b', '1'), effect('a', '1')])).toEqual(
      [{ kind: 'a', key: '1', times: 2 }],
    )
  })
})

describe('fields of answers', () => {
  const answer = { results: [{ id: 1, name: 'a' }, { id: 2 }], total: 2 }

  it('are dropped and added at a path, at one position of a list or at all', () => {
    expect(alterField(answer, 'total', 'drop')).toEqual({ results: answer.results })
    expect(alterField(answer, 'results.0.id', 'drop')).toEqual({
      results: [{ name: 'a' }, { id: 2 }],
      total: 2,
    })
    expect(alterField(answer, 'results.*.id', 'drop')).toEqual({ results: [{ name: 'a' }, {}], total: 2 })
    expect(alterField(answer, 'results.1.more', 'add')).toHaveProperty('results.1.more')
  })

  it('stay as they are where the path leads nowhere', () => {
    expect(alterField(answer, 'nowhere.id', 'drop')).toEqual(answer)
    expect(alterField(null, 'id', 'drop')).toBeNull()
    expect(answer.results[0]).toEqual({ id: 1, name: 'a' })
  })
})

describe('paths', () => {
  it.each([
    ['/v1/customers/:id', '/v1/customers/cus_1', { id: 'cus_1' }],
    ['/v1/customers/:id', '/v1/customers/a%2Fb', { id: 'a/b' }],
    ['/v1/customers/:id', '/v1/customers/%', { id: '%' }],
    ['/v1/customers/:id', '/v1/customers/', undefined],
    ['/v1/customers/:id', '/v1/customers/cus_1/more', undefined],
    ['/v1/*', '/v1/customers/cus_1', {}],
    ['/v1/customers', '/v1/charges', undefined],
  ])('%s and %s', (pattern, path, params) => {
    expect(matchPath(pattern, path)).toEqual(params)
  })
})

describe('a rolling limit', () => {
  it('allows so many in any window, does not count what it refuses, and allows all where there is none', () => {
    const isOver = createRollingLimit(2, 1000)
    expect([0, 400, 500, 999].map(isOver)).toEqual([false, false, true, true])
    expect([1000, 1001, 1400].map(isOver)).toEqual([false, true, false])
    expect([0, 0, 0].map(createRollingLimit(undefined, 1000))).toEqual([false, false, false])
  })
})

describe('a bundle', () => {
  it('tells each by itself, and in one delivery what happens together, unless something threw', async () => {
    const sent: (readonly string[])[] = []
    const bundle = createBundle<string>((told) => Promise.resolve(void sent.push(told)))
    await bundle.tell(['a'])
    await bundle.together(async () => {
      await bundle.tell(['b'])
      await bundle.tell(['c', 'd'])
      expect(sent).toEqual([['a']])
    })
    const failing = bundle.together(() => bundle.tell(['e']).then(() => Promise.reject(new Error('oops'))))
    await expect(failing).rejects.toThrow('oops')
    await bundle.tell(['f'])
    expect(sent).toEqual([['a'], ['b', 'c', 'd'], ['f']])
  })
})

describe('reading a request', () => {
  it('takes a body of any shape', () => {
    expect([null, 'text', ['list'], undefined].map(fieldsOf)).toEqual([{}, {}, {}, {}])
    expect(fieldsOf({ a: 1 })).toEqual({ a: 1 })
    expect(['', 'text', 7, null].map(textOf)).toEqual([undefined, 'text', undefined, undefined])
  })

  it('makes UUIDs of version 4, the same for the same seed', () => {
    const made = uuidFrom(seededRandom('a seed'))
    expect(made).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-8[0-9a-f]{3}-[0-9a-f]{12}$/)
    expect(uuidFrom(seededRandom('a seed'))).toBe(made)
  })
})
