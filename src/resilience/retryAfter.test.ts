import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { parseHttpDate, retryTime } from './index.ts'

const NOW = Date.UTC(2026, 10, 22, 9)

describe('Retry-After (RFC 9110, 10.2.3)', () => {
  it.each([
    ['120', NOW + 120_000],
    ['0', NOW],
    [' 5 ', NOW + 5000],
    ['5, 30, 10', NOW + 30_000],
    ['1000000000', NOW + 1e12],
    ['Sun, 22 Nov 2026 09:00:30 GMT', NOW + 30_000],
    ['Sunday, 22-Nov-26 09:00:30 GMT', NOW + 30_000],
    ['Sun Nov 22 09:00:30 2026', NOW + 30_000],
    ['Wed, 21 Oct 2015 07:28:00 GMT', NOW],
    ['9'.repeat(400), 8.64e15],
  ])('%s', (header, expected) => {
    expect(retryTime(header, NOW)).toBe(expected)
  })

  it.each([
    undefined,
    '',
    '-1',
    '-120',
    '1.5',
    '1e3',
    '0x10',
    'soon',
    '10s',
    '5,',
    'null',
    '٣',
    '2026-11-22T09:00:30Z',
  ])('finds no time in %s', (header) => {
    expect(retryTime(header, NOW)).toBeUndefined()
  })

  it('gives no time before now, whatever it reads', () => {
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.integer().map(String), fc.date().map(String)), (header) => {
        const time = retryTime(header, NOW)
        if (time === undefined) return
        expect(time).toBeGreaterThanOrEqual(NOW)
        expect(time).toBeLessThanOrEqual(8.64e15)
      }),
    )
  })
})

describe('HTTP dates (RFC 9110, 5.6.7)', () => {
  it('reads back every date in each of the three forms', () => {
    const from = Date.UTC(1977, 0, 1)
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 80 * 365 * 86_400 }), (seconds) => {
        const date = new Date(from + seconds * 1000)
        const imf = date.toUTCString()
        const [, day, month, year, time] = /^\w{3}, (\d\d) (\w{3}) (\d{4}) (.{8}) GMT$/.exec(imf)!
        expect(parseHttpDate(imf, NOW)).toBe(date.getTime())
        expect(parseHttpDate(`Wednesday, ${day}-${month}-${year!.slice(2)} ${time} GMT`, NOW)).toBe(
          Number(year) > 2076
            ? Date.UTC(Number(year) - 100, date.getUTCMonth(), date.getUTCDate()) +
                (date.getTime() % 86_400_000)
            : date.getTime(),
        )
        expect(parseHttpDate(`Wed ${month} ${day!.replace(/^0/, ' ')} ${time} ${year}`, NOW)).toBe(
          date.getTime(),
        )
      }),
    )
  })

  it.each([
    'Sun, 31 Feb 2026 09:00:30 GMT',
    'Sun, 22 Nov 2026 24:00:00 GMT',
    'Sun, 22 Nov 2026 09:60:00 GMT',
    'Sun, 22 Nov 2026 09:00:61 GMT',
    'Sun, 00 Nov 2026 09:00:00 GMT',
    'Sun, 22 nov 2026 09:00:00 GMT',
    'Sun, 22 Nov 2026 09:00:00 +0100',
    'Sun, 22 Nov 2026 09:00:00',
    'Sun, 22 Nov 0026 09:00:00 GMT',
  ])('refuses %s', (text) => {
    expect(parseHttpDate(text, NOW)).toBeUndefined()
  })

  it('takes a leap second for the second after', () => {
    expect(parseHttpDate('Sat, 31 Dec 2016 23:59:60 GMT', NOW)).toBe(Date.UTC(2017, 0, 1))
  })
})
