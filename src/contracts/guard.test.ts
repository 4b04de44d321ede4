import type { StandardSchemaV1 } from '@standard-schema/spec'
import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import * as z from 'zod'
import { LosslessNumber, parseJson } from '../base/index.ts'
import { checkAnswer, checkEvent, checkInput, guard } from './index.ts'

const payment = z.object({
  id: z.string(),
  amount: z.number(),
  customer: z.object({ email: z.email(), 'a/b~c': z.string().optional() }),
  lines: z.array(z.object({ sku: z.string() })),
})
const good = { id: 'p', amount: 1, customer: { email: 'ada@example.com' }, lines: [{ sku: 'x' }] }

describe('the guard', () => {
  it('gives out what the schema gives out', () => {
    expect(guard(z.object({ at: z.string().transform((text) => text.length) }), { at: 'four' })).toEqual({
      as: 'valid',
      value: { at: 4 },
    })
    expect(guard(payment, good)).toEqual({ as: 'valid', value: good })
  })

  it.each([
    [{ ...good, id: 7 }, '/id', 'expected string', 'got a number'],
    [{ ...good, amount: undefined }, '/amount', 'expected number', 'got nothing'],
    [{ ...good, amount: null }, '/amount', 'expected number', 'got null'],
    [{ ...good, lines: [{ sku: 'x' }, {}] }, '/lines/1/sku', 'expected string', 'got nothing'],
    [{ ...good, customer: { email: 'no' } }, '/customer/email', 'Invalid email', 'got text of 2 characters'],
    [
      { ...good, customer: { email: 'a@b.co', 'a/b~c': 1 } },
      '/customer/a~1b~0c',
      'expected string',
      'got a number',
    ],
    [{ ...good, lines: {} }, '/lines', 'expected array', 'got an object'],
    [[], '', 'expected object', 'got a list of 0'],
    ['', '', 'expected object', 'got empty text'],
  ])('says where it breaks, what was expected and what came (%#)', (value, path, expected, got) => {
    const result = guard(payment, value)
    expect(result).toMatchObject({ as: 'broken', path })
    expect(result.as === 'broken' && result.reason).toContain(expected)
    expect(result.as === 'broken' && result.reason).toContain(got)
  })

  it('tells that a number has more digits than a number can hold', () => {
    const big = guard(payment, { ...good, amount: parseJson('9007199254740993') })
    expect(big.as === 'broken' && big.reason).toContain('beyond 2^53')
    const long = guard(payment, { ...good, amount: new LosslessNumber('0.12345678901234567890') })
    expect(long.as === 'broken' && long.reason).toContain('LosslessNumber')
  })

  it('looks into the branch of a union that came furthest', () => {
    const either = z.object({
      data: z.union([z.object({ kind: z.literal('a'), n: z.object({ m: z.number() }) }), z.string()]),
    })
    expect(guard(either, { data: { kind: 'a', n: { m: 'x' } } })).toMatchObject({
      as: 'broken',
      path: '/data/n/m',
    })
  })

  it('counts further faults', () => {
    const result = guard(payment, {})
    expect(result.as === 'broken' && result.reason).toContain('and 3 more')
  })

  it('never tells a value', () => {
    const secret = z.object({
      key: z.string().max(3),
      kind: z.enum(['a', 'b']),
      n: z.number().max(3),
      one: z.literal('x'),
      list: z.array(z.string().regex(/^a$/)),
    })
    fc.assert(
      fc.property(fc.constantFrom('key', 'kind', 'one', 'list'), fc.uuid(), (field, uuid) => {
        const value = {
          key: 'a',
          kind: 'a',
          n: 1,
          one: 'x',
          list: ['a'],
          [field]: field === 'list' ? [uuid] : uuid,
        }
        const result = guard(secret, value)
        expect(result.as).toBe('broken')
        expect(JSON.stringify(result)).not.toContain(uuid)
      }),
    )
  })

  it('refuses a schema that answers asynchronously', () => {
    const slow = z.string().refine(async () => true)
    expect(guard(slow, 'x')).toMatchObject({ as: 'broken' })
    const custom = (validate: () => unknown): StandardSchemaV1<unknown, string> =>
      ({ '~standard': { version: 1, vendor: 'test', validate } }) as StandardSchemaV1<unknown, string>
    for (const promise of [() => Promise.resolve({ value: 'x' }), () => Promise.reject(new Error('late'))]) {
      const result = guard(custom(promise), 'x')
      expect(result.as === 'broken' && result.reason).toContain('asynchronous part')
    }
    expect(
      guard(
        custom(() => ({ issues: [] })),
        'x',
      ),
    ).toMatchObject({ as: 'broken', path: '' })
    expect(
      guard(
        custom(() => ({ issues: [{ message: 'no', path: [{ key: 'a' }, 0] }] })),
        { a: [1] },
      ),
    ).toMatchObject({ as: 'broken', path: '/a/0', reason: 'no; got a number' })
  })

  it('refuses, and does not throw, where the schema throws', () => {
    const faulty = z.string().transform(() => {
      throw new Error('a fault in the contract')
    })
    const result = guard(faulty, 'x')
    expect(result.as === 'broken' && result.reason).toContain('a function in it threw')
    const throwing = {
      '~standard': {
        version: 1,
        vendor: 'test',
        validate: () => {
          throw new Error('a fault in the contract')
        },
      },
    } as const
    const thrown = guard(throwing, 'x')
    expect(thrown.as === 'broken' && thrown.reason).toContain('a fault in the contract')
  })

  it('stands at each of the three walls', () => {
    for (const check of [checkInput, checkAnswer, checkEvent])
      expect(check(payment, {})).toMatchObject({ as: 'broken', path: '/id' })
  })
})
