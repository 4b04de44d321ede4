import { describe, expect, it } from 'vitest'
import { SECOND } from '../../base/index.ts'
import { Lines, type Promised } from './lines.ts'

const line = (lines: Lines, flow: string, count: number, paceMs: number, again = false): Promised[] =>
  Array.from({ length: count }, (_, i) =>
    lines.turn(flow, { earliest: 0, paceMs, again }, (at) => ({
      tenant: 'default',
      runId: `${flow}${i}`,
      until: at,
    })),
  )
const ids = (promised: readonly Promised[]): string[] => promised.map(({ runId }) => runId)

describe('the times that deferred calls are given', () => {
  it('come one after another at the pace of the time, flow by flow', () => {
    const lines = new Lines()
    expect(line(lines, 'a', 3, 500).map(({ until }) => until)).toEqual([0, 500, 1000])
    expect(line(lines, 'b', 2, 500).map(({ until }) => until)).toEqual([0, 500])
    expect(line(lines, 'a', 1, 500, true).map(({ until }) => until)).toEqual([0])
    expect(lines.waiting(1_100)).toBe(1)
  })

  it('are brought forward where the pace has risen, soonest first, and no more than it has room for', () => {
    const lines = new Lines()
    line(lines, 'a', 10, 4 * SECOND)
    line(lines, 'b', 10, 5 * SECOND)
    // The first of each are over; a pace of five a second has room for five more.
    expect(ids(lines.early(0, 5))).toEqual(['a1', 'b1', 'a2', 'b2', 'a3'])
    expect(ids(lines.early(0, 3))).toEqual(['b3', 'a4', 'a5'])
    // a6 comes at 24 s, and takes one of the two places.
    expect(ids(lines.early(23.5 * SECOND, 2))).toEqual(['b5'])
  })

  it('are left as they are while the pace is as it was', () => {
    const lines = new Lines()
    line(lines, 'a', 100, SECOND)
    for (let second = 0; second < 100; second++) expect(lines.early(second * SECOND, 1)).toEqual([])
  })

  it('do not hold up who is deferred next behind times that nobody waits for', () => {
    const lines = new Lines()
    line(lines, 'a', 60, SECOND)
    expect(lines.early(0, 1_000)).toHaveLength(58)
    const [next] = line(lines, 'a', 1, SECOND)
    expect(next!.until).toBeLessThanOrEqual(2 * SECOND)
  })
})
