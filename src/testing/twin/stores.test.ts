import { describe, expect, it } from 'vitest'
import { createFakeClock } from '../fakeClock.ts'
import { repeatedEffects } from './effects.ts'
import { alterField } from './faults.ts'
import { createLaggingIndex } from './laggingIndex.ts'
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
