import { afterEach, beforeEach, expect, it } from 'vitest'
import { createFakeClock } from '../testing/index.ts'
import { timeWords } from './times.ts'
import { inLocalTime } from './words.ts'

const before = process.env['TZ']
beforeEach(() => {
  process.env['TZ'] = 'Europe/Berlin'
})
afterEach(() => {
  if (before === undefined) delete process.env['TZ']
  else process.env['TZ'] = before
})

const clock = createFakeClock(Date.parse('2026-11-22T12:00:00Z'))

it('people read the time of their own zone, with the day where it is another', () => {
  expect(timeWords('2026-11-22T13:03:05Z', clock)).toBe('14:03:05 CET')
  expect(timeWords('2026-11-22T23:30:00Z', clock)).toBe('2026-11-23 00:30:00 CET')
  expect(timeWords('2026-07-01T00:00:00Z', clock)).toMatch(/^2026-07-01 02:00:00 (CEST|GMT\+2)$/)
})

it('moments within sentences are turned too, and nothing else', () => {
  expect(inLocalTime('It is tried in 41 s, at 2026-11-22 12:00:41 UTC, for order 2026-11-22.', clock)).toBe(
    'It is tried in 41 s, at 13:00:41 CET, for order 2026-11-22.',
  )
  expect(inLocalTime('It was valid until 2026-11-22T18:00:00.000Z.', clock)).toBe(
    'It was valid until 19:00:00 CET.',
  )
})
