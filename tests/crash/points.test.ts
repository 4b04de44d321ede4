import { describe, expect, it } from 'vitest'
import { CRASH_POINTS } from '../../src/base/index.ts'
import { choosePoints, choosePowerCuts, parsePoint, pointName } from './points.ts'

describe('crash points', () => {
  it('are read as they are written', () => {
    const points = [...choosePoints(300, 'any'), ...choosePowerCuts(20, 'any')]
    expect(points.map((point) => parsePoint(pointName(point)))).toEqual(points)
  })

  it('are as many as asked for, the same for the same seed, and of every kind and name', () => {
    for (const count of [50, 300]) {
      const points = choosePoints(count, 'seed')
      expect(points).toHaveLength(count)
      expect(points).toEqual(choosePoints(count, 'seed'))
      expect(points).not.toEqual(choosePoints(count, 'another seed'))
      expect(new Set(points.map(({ kind }) => kind))).toEqual(
        new Set([
          'node_write',
          'named',
          'zombie',
          'node_after',
          'all_after',
          'postgres_after',
          'postgres_call',
        ]),
      )
      const named = points.flatMap((point) => (point.kind === 'named' ? [point.name] : []))
      expect(new Set(named)).toEqual(new Set(CRASH_POINTS))
    }
  })

  it('cover the first 150 system calls evenly in the long form', () => {
    const writes = choosePoints(300, 'seed').flatMap((point) =>
      point.kind === 'node_write' ? [point.n] : [],
    )
    expect(Math.min(...writes)).toBeLessThanOrEqual(5)
    expect(Math.max(...writes)).toBeGreaterThan(145)
    expect(Math.max(...writes)).toBeLessThanOrEqual(150)
  })

  it.each(['write', 'write:0', 'write:x', 'nowhere:3', 'zombie:write:3', 'server:runs.claimed:1', 'node:ms'])(
    '"%s" is none',
    (text) => expect(() => parsePoint(text)).toThrow('is no crash point'),
  )
})
