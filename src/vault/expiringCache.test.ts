import { describe, expect, it } from 'vitest'
import { createFakeClock } from '../testing/fakeClock.ts'
import { createExpiringCache, createSharedRead } from './expiringCache.ts'

/** A load whose answer the test gives. */
function gated(): {
  load: () => Promise<string>
  answer: (text: string) => void
  fail: (error: Error) => void
} {
  let answer!: (text: string) => void
  let fail!: (error: Error) => void
  const promise = new Promise<string>((resolve, reject) => {
    answer = resolve
    fail = reject
  })
  return { load: () => promise, answer, fail }
}

describe('a kept value', () => {
  it('is loaded once for all who ask at the same time, and again after its time', async () => {
    const clock = createFakeClock()
    const cache = createExpiringCache<number>({ clock, keepMs: 1000, most: 10 })
    let loads = 0
    const get = (): Promise<number> => cache.get('a', () => Promise.resolve(++loads))
    expect(await Promise.all([get(), get()])).toEqual([1, 1])
    await clock.advance(999)
    expect(await get()).toBe(1)
    await clock.advance(1)
    expect(cache.size).toBe(0)
    expect(await get()).toBe(2)
  })

  it('is gone from memory after its time, even if nobody asks', async () => {
    const clock = createFakeClock()
    const cache = createExpiringCache<number>({ clock, keepMs: 1000, most: 10 })
    await cache.get('a', () => Promise.resolve(1))
    await clock.advance(1000)
    expect([cache.size, clock.pending()]).toEqual([0, 0])
  })

  it('that was forgotten while it was loaded is not given to those who ask later', async () => {
    const cache = createExpiringCache<string>({ clock: createFakeClock(), keepMs: 1000, most: 10 })
    const old = gated()
    const early = cache.get('a', old.load)
    cache.forget('a')
    const late = cache.get('a', () => Promise.resolve('new'))
    old.answer('old')
    expect([await early, await late]).toEqual(['old', 'new'])
    expect(await cache.get('a', () => Promise.resolve('not asked'))).toBe('new')
  })

  it('stays, when the load of a forgotten one fails behind it', async () => {
    const cache = createExpiringCache<string>({ clock: createFakeClock(), keepMs: 1000, most: 10 })
    const old = gated()
    const early = cache.get('a', old.load)
    cache.forget('a')
    await cache.get('a', () => Promise.resolve('new'))
    old.fail(new Error('away'))
    await expect(early).rejects.toThrow('away')
    expect(await cache.get('a', () => Promise.resolve('not asked'))).toBe('new')
  })

  it('is not kept if its load failed', async () => {
    const cache = createExpiringCache<string>({ clock: createFakeClock(), keepMs: 1000, most: 10 })
    await expect(cache.get('a', () => Promise.reject(new Error('away')))).rejects.toThrow('away')
    expect(await cache.get('a', () => Promise.resolve('back'))).toBe('back')
  })

  it('makes room for others: never more than the limit', async () => {
    const clock = createFakeClock()
    const cache = createExpiringCache<number>({ clock, keepMs: 1000, most: 3 })
    for (let i = 0; i < 100; i++) await cache.get(String(i), () => Promise.resolve(i))
    expect(cache.size).toBe(3)
    expect(clock.pending()).toBe(3)
    expect(await cache.get('99', () => Promise.resolve(-1))).toBe(99)
  })
})

describe('a shared read', () => {
  it('is never older than the question', async () => {
    const read = createSharedRead<string>()
    const [first, second] = [gated(), gated()]
    let reads = 0
    const next = (): Promise<string> => [first, second][reads++]!.load()
    const before = read('a', next)
    const during = [read('a', next), read('a', next)]
    expect(reads).toBe(1)
    first.answer('old')
    expect(await before).toBe('old')
    second.answer('new')
    expect(await Promise.all(during)).toEqual(['new', 'new'])
    expect(reads).toBe(2)
  })

  it('that fails does not fail the next', async () => {
    const read = createSharedRead<string>()
    const first = gated()
    const failing = read('a', first.load)
    const next = read('a', () => Promise.resolve('fine'))
    first.fail(new Error('away'))
    await expect(failing).rejects.toThrow('away')
    expect(await next).toBe('fine')
    expect(await read('a', () => Promise.resolve('again'))).toBe('again')
  })

  it('of one key does not wait for another', async () => {
    const read = createSharedRead<string>()
    void read('a', () => new Promise(() => {}))
    expect(await read('b', () => Promise.resolve('b'))).toBe('b')
  })
})
