import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { atPath, atPointer, encodeJson, JsonError, LosslessNumber, parseJson } from './json.ts'

const codeOf = (text: string | Uint8Array): string | undefined => {
  try {
    parseJson(text)
    return undefined
  } catch (error) {
    return error instanceof JsonError ? error.code : 'other'
  }
}

describe('lossless JSON', () => {
  it('keeps whole numbers beyond 2^53', () => {
    expect(parseJson('{"id":9007199254740993}')).toEqual({ id: 9007199254740993n })
    expect(encodeJson({ id: 9007199254740993n })).toBe('{"id":9007199254740993}')
  })

  it('keeps decimals that a double cannot hold', () => {
    const value = parseJson('[0.12345678901234567890, 12345678.12345678, 1e400]') as LosslessNumber[]
    expect(encodeJson(value)).toBe('[0.12345678901234567890,12345678.12345678,1e400]')
    expect(value[0]).toBeInstanceOf(LosslessNumber)
  })

  it('gives plain numbers wherever those are exact', () => {
    expect(parseJson('[1.50, 15e-1, 1e3, -0.001, 100000000000000000000.0e-20]')).toEqual([
      1.5, 1.5, 1000, -0.001, 1,
    ])
  })

  it.each([
    ['{"a":1,"a":2}', 'json_duplicate_key'],
    ['{"a":1,"a":1}', 'json_duplicate_key'],
    ['{"x":{"a":9007199254740993,"a":1}}', 'json_duplicate_key'],
    ['{"a":1,"\\u0061":1}', 'json_duplicate_key'],
    ['{"__proto__":{"admin":true}}', 'json_proto_key'],
    ['{"n":12345678901234567890,"__proto__":{"admin":true}}', 'json_proto_key'],
    ['{"a":', 'json_malformed'],
    ['', 'json_malformed'],
    ["{'a':1}", 'json_malformed'],
    ['[1234567890123456789,]', 'json_malformed'],
    ['['.repeat(65) + ']'.repeat(65), 'json_too_deep'],
    ['['.repeat(200_000) + ']'.repeat(200_000), 'json_too_deep'],
  ])('refuses %.40s', (text, code) => {
    expect(codeOf(text)).toBe(code)
  })

  it('refuses bytes that are not UTF-8, and reads a byte order mark', () => {
    expect(codeOf(Buffer.from([0x22, 0xff, 0x22]))).toBe('json_not_utf8')
    expect(parseJson(Buffer.from('\ufeff{"a":1}'))).toEqual({ a: 1 })
  })

  it('keeps lone surrogates, null characters and colons in strings', () => {
    const text = '{"a":"\\ud800 \\u0000 : \\" :"}'
    expect(parseJson(encodeJson(parseJson(text)))).toEqual(JSON.parse(text))
  })

  it('gives back every value that it wrote', () => {
    fc.assert(
      fc.property(fc.jsonValue({ maxDepth: 8 }), (value) => {
        if (JSON.stringify(value).includes('__proto__')) return
        const text = encodeJson(value)
        expect(encodeJson(parseJson(text))).toBe(text)
      }),
    )
  })

  it.each([
    [{ at: new Date(0) }, '/at'],
    [{ list: [1, Number.NaN] }, '/list/1'],
    [{ run: () => 1 }, '/run'],
    [new Map(), ''],
  ])('refuses to write what JSON would change in silence', (value, path) => {
    expect(() => encodeJson(value)).toThrow(expect.objectContaining({ code: 'json_unserializable', path }))
  })

  it('refuses a cycle', () => {
    const cycle: Record<string, unknown> = {}
    cycle['self'] = cycle
    expect(() => encodeJson(cycle)).toThrow(JsonError)
  })

  it('finds values by pointer and by path, own properties only', () => {
    const value = parseJson('{"data":{"a/b":[{"id":"x"}]}}')
    expect(atPointer(value, '/data/a~1b/0/id')).toBe('x')
    expect(atPointer(value, '/data/constructor')).toBeUndefined()
    expect(atPath({ data: { lines: [{ id: 'y' }] } }, 'data.lines.0.id')).toBe('y')
    expect(atPath({}, 'constructor.name')).toBeUndefined()
  })
})
