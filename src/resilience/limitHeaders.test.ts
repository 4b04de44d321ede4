import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { observedLimits, refusedBy } from './index.ts'

const NOW = Date.UTC(2026, 10, 22, 9)

describe('rate-limit headers', () => {
  it.each<[string, Record<string, string>, object[]]>([
    [
      'the current draft (10 and 11)',
      { ratelimit: '"default";r=50;t=30', 'ratelimit-policy': '"default";q=100;w=10' },
      [{ name: 'default', remaining: 50, allowed: 100, windowMs: 10_000, resetAt: NOW + 30_000 }],
    ],
    [
      'several policies',
      {
        ratelimit: '"burst";r=0;t=1, "day";r=999',
        'ratelimit-policy': '"day";q=1000;w=86400, "burst";q=10;w=1;qu="requests"',
      },
      [
        { name: 'burst', remaining: 0, allowed: 10, windowMs: 1000, resetAt: NOW + 1000 },
        { name: 'day', remaining: 999, allowed: 1000, windowMs: 86_400_000 },
      ],
    ],
    [
      'the draft before (07)',
      { ratelimit: 'limit=100, remaining=0, reset=50' },
      [{ remaining: 0, allowed: 100, resetAt: NOW + 50_000 }],
    ],
    [
      'single fields (drafts to 06)',
      { 'ratelimit-limit': '100, 100;w=60', 'ratelimit-remaining': '3', 'ratelimit-reset': '7' },
      [{ remaining: 3, allowed: 100, resetAt: NOW + 7000 }],
    ],
    [
      'X- fields with seconds to go',
      { 'x-ratelimit-limit': '60', 'x-ratelimit-remaining': '0', 'x-ratelimit-reset': '12' },
      [{ remaining: 0, allowed: 60, resetAt: NOW + 12_000 }],
    ],
    [
      'X- fields with a time in seconds (GitHub)',
      { 'x-ratelimit-remaining': '1', 'x-ratelimit-reset': String(NOW / 1000 + 60) },
      [{ remaining: 1, resetAt: NOW + 60_000 }],
    ],
    [
      'X- fields with a time in milliseconds',
      { 'x-rate-limit-remaining': '1', 'x-rate-limit-reset': String(NOW + 1) },
      [{ remaining: 1, resetAt: NOW + 1 }],
    ],
    [
      'HubSpot',
      {
        'x-hubspot-ratelimit-max': '190',
        'x-hubspot-ratelimit-remaining': '0',
        'x-hubspot-ratelimit-interval-milliseconds': '10000',
        'x-hubspot-ratelimit-daily': '250000',
        'x-hubspot-ratelimit-daily-remaining': '249999',
      },
      [
        { name: 'interval', remaining: 0, allowed: 190, windowMs: 10_000 },
        { name: 'daily', remaining: 249_999, allowed: 250_000, windowMs: 86_400_000 },
      ],
    ],
  ])('%s', (_, headers, expected) => {
    expect(observedLimits(headers, NOW)).toEqual(expected)
  })

  it.each<[string, Record<string, string>]>([
    ['none', {}],
    ['an unreadable structured field', { ratelimit: '"default;r=5' }],
    ['a negative remainder', { ratelimit: '"default";r=-1' }],
    ['an inner list', { ratelimit: '("a" "b");r=1' }],
    ['a token in place of a name', { ratelimit: 'default;r=1' }],
    ['words', { 'x-ratelimit-remaining': 'plenty' }],
    ['nothing after the sign', { 'x-ratelimit-remaining': '-' }],
    ['too many digits', { 'x-ratelimit-remaining': '9'.repeat(30) }],
  ])('gives nothing for %s', (_, headers) => {
    expect(observedLimits(headers, NOW)).toEqual([])
  })

  it('reads what a connector names, in each of its forms', () => {
    const table = [
      {
        limit: 'calls',
        used: 'x-used',
        allowed: 'x-limit',
        reset: { header: 'x-reset', as: 'unix-seconds' as const },
      },
      { limit: 'day', remaining: 'x-left', reset: { header: 'x-in', as: 'milliseconds' as const } },
    ]
    const headers = {
      'x-used': '40',
      'x-limit': '100',
      'x-reset': String(NOW / 1000 + 5),
      'x-left': '0',
      'x-in': '250',
    }
    expect(observedLimits(headers, NOW, table)).toEqual([
      { name: 'calls', remaining: 60, allowed: 100, resetAt: NOW + 5000 },
      { name: 'day', remaining: 0, resetAt: NOW + 250 },
    ])
    expect(observedLimits({}, NOW, table)).toEqual([])
  })

  it('tells which limit a refusal was for, where the provider says it', () => {
    const table = [
      { limit: 'account', refused: { header: 'x-reason', values: ['global-rate'] } },
      { limit: 'search', refused: { header: 'x-reason', values: ['endpoint-rate'] } },
    ]
    const by = (reason: string, limit: string) => refusedBy({ 'x-reason': reason }, limit, table)
    expect([by('global-rate', 'account'), by('global-rate', 'search')]).toEqual([true, false])
    expect(by('global-concurrency', 'account')).toBe(false)
    expect(refusedBy({}, 'account', table)).toBeUndefined()
  })

  it('throws for no header, however odd', () => {
    const names = [
      'ratelimit',
      'ratelimit-policy',
      'x-ratelimit-remaining',
      'x-ratelimit-reset',
      'x-hubspot-ratelimit-remaining',
    ]
    fc.assert(
      fc.property(fc.dictionary(fc.constantFrom(...names), fc.string()), (headers) => {
        for (const limit of observedLimits(headers, NOW)) expect(limit.remaining).toBeGreaterThanOrEqual(0)
      }),
    )
  })
})
