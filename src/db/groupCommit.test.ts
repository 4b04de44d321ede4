import { describe, expect, it } from 'vitest'
import { turn } from '../base/index.ts'
import { createFakeClock } from '../testing/index.ts'
import { createGroupCommit, type GroupCommit } from './groupCommit.ts'

/** Transactions that end when the test says so. */
function slowly(): {
  readonly commit: GroupCommit<string, string>
  readonly clock: ReturnType<typeof createFakeClock>
  readonly begun: string[][]
  readonly end: (number: number) => Promise<void>
} {
  const clock = createFakeClock()
  const begun: string[][] = []
  const ends: (() => void)[] = []
  const commit = createGroupCommit<string, string>({
    clock,
    key: (item) => item,
    flush: (batch) => {
      begun.push([...batch])
      return new Promise((resolve) => ends.push(() => resolve(batch)))
    },
  })
  const settle = async (): Promise<void> => {
    for (let i = 0; i < 5; i++) await turn()
  }
  return {
    commit,
    clock,
    begun,
    end: async (number) => {
      ends[number]!()
      await settle()
    },
  }
}

describe('a group commit', () => {
  it('gathers what comes while a transaction is in flight, and begins nothing beside a young one', async () => {
    const { commit, clock, begun, end } = slowly()
    const first = commit.add('a')
    await turn()
    await turn()
    const rest = [commit.add('c'), commit.add('b')]
    await clock.advance(99)
    expect(begun).toEqual([['a']])
    await end(0)
    expect(begun).toEqual([['a'], ['b', 'c']])
    await end(1)
    expect(await Promise.all([first, ...rest])).toEqual(['a', 'c', 'b'])
    expect(commit.size).toBe(0)
  })

  it('goes on beside one that hangs, and is drained when that has ended, too', async () => {
    const { commit, clock, begun, end } = slowly()
    void commit.add('hangs')
    await turn()
    await turn()
    void commit.add('b')
    await clock.advance(100)
    await turn()
    await turn()
    expect(begun).toEqual([['hangs'], ['b']])
    void commit.add('c')
    await end(1)
    expect(begun).toEqual([['hangs'], ['b'], ['c']])
    await end(2)
    let drained = false
    const all = commit.drain().then(() => (drained = true))
    await turn()
    expect(drained).toBe(false)
    await end(0)
    await all
  })
})
