import canonicalize from 'canonicalize'
import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { parseJson } from '../base/index.ts'
import { canonicalJson } from './canonical.ts'
import { decodeEntry, DETAIL_LIMIT, encodeEntry, type LedgerEntry } from './entry.ts'

const ENTRY: LedgerEntry = {
  tenant: 'default',
  at: 1_764_000_000_123,
  actor: 'provider:stripe',
  action: 'delivery.accepted',
  target: 'dlv_1',
  outcome: 'accepted',
}

const wellFormed = fc.string({ unit: 'grapheme' })

describe('canonical JSON', () => {
  it('is what RFC 8785 says, for any JSON', () => {
    fc.assert(
      fc.property(fc.jsonValue({ stringUnit: 'grapheme', maxDepth: 6 }), (value) => {
        expect(canonicalJson(value)).toBe(canonicalize(value))
      }),
    )
  })

  it('writes the example of RFC 8785, 3.2.3', () => {
    const value: unknown = JSON.parse(
      '{"numbers":[333333333.33333329,1E30,4.50,2e-3,0.000000000000000000000000001],' +
        '"string":"\\u20ac$\\u000F\\u000aA\'\\u0042\\u0022\\u005c\\\\\\"\\/","literals":[null,true,false]}',
    )
    expect(canonicalJson(value)).toBe(
      '{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],' +
        '"string":"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}',
    )
  })

  it('replaces what the standard refuses, and never throws', () => {
    const cycle: Record<string, unknown> = { a: 1 }
    cycle['self'] = cycle
    let deep: unknown = 1
    for (let i = 0; i < 100; i++) deep = [deep]
    const odd = {
      big: parseJson('[12345678901234567890,0.12345678901234567890]'),
      nan: [Number.NaN, Infinity, -0],
      half: 'a\ud800b',
      date: new Date(0),
      bad: new Date(Number.NaN),
      gone: undefined,
      run: () => 1,
      list: [undefined, () => 1],
    }
    expect(canonicalJson(odd)).toBe(
      '{"bad":null,"big":["12345678901234567890","0.12345678901234567890"],"date":"1970-01-01T00:00:00.000Z",' +
        '"half":"a\ufffdb","list":[null,null],"nan":[null,null,0]}',
    )
    expect(canonicalJson(cycle)).toBe('{"a":1,"self":"[cycle]"}')
    expect(canonicalJson(deep)).toContain('"[nested too deep]"')
    expect(canonicalJson('\\ud800')).toBe('"\\\\ud800"')
  })
})

describe('an entry', () => {
  it('is canonical JSON by construction', () => {
    fc.assert(
      fc.property(
        wellFormed,
        wellFormed,
        fc.option(wellFormed, { nil: undefined }),
        fc.option(wellFormed, { nil: undefined }),
        fc.option(fc.jsonValue({ stringUnit: 'grapheme' }), { nil: undefined }),
        (target, outcome, runId, connectionId, detail) => {
          const { json } = encodeEntry({ ...ENTRY, target, outcome, runId, connectionId, detail })
          expect(json).toBe(canonicalize(JSON.parse(json)))
        },
      ),
    )
  })

  it('is read back as it was written', () => {
    const entry: LedgerEntry = {
      ...ENTRY,
      runId: 'run_1',
      connectionId: 'con_1',
      detail: { b: [1, 'x'], a: null },
    }
    const { id, json } = encodeEntry(entry)
    expect(decodeEntry(Buffer.from(json))).toEqual({ ...entry, id })
  })

  it('says the same in its columns and its bytes, whatever the texts are', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 400 }), (text) => {
        const encoded = encodeEntry({ ...ENTRY, target: `\0${text}\ud800`, runId: text })
        const read = decodeEntry(Buffer.from(encoded.json))
        expect([read.target, read.runId]).toEqual([encoded.target, encoded.runId])
        expect(encoded.target.length).toBeLessThanOrEqual(256)
        expect(encoded.target).not.toMatch(/\0|\p{Surrogate}/u)
      }),
    )
  })

  it('keeps of a detail that is too long its length and hash', () => {
    const { json } = encodeEntry({ ...ENTRY, detail: { text: 'x'.repeat(DETAIL_LIMIT) } })
    expect(json.length).toBeLessThan(600)
    expect(decodeEntry(Buffer.from(json)).detail).toEqual({
      omitted: { characters: DETAIL_LIMIT + 11, sha256: expect.stringMatching(/^[0-9a-f]{64}$/) },
    })
  })

  it.each([Number.NaN, -1, Infinity, 1e300])('takes the time %d without failing', (at) => {
    expect(encodeEntry({ ...ENTRY, at }).at).toBe(0)
  })
})
