import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { FormError, parseForm, sortedFormText } from './form.ts'

const fieldsOf = (text: string): ReturnType<typeof parseForm> => parseForm(Buffer.from(text))

describe('a form body', () => {
  it.each([
    ['', {}],
    ['a=1', { a: '1' }],
    ['a', { a: '' }],
    ['&&a=1&', { a: '1' }],
    ['=x', { '': 'x' }],
    ['a=b=c', { a: 'b=c' }],
    ['a+b=c+%2B+d', { 'a b': 'c + d' }],
    ['n=%C3%A9\u00e9', { n: '\u00e9\u00e9' }],
    ['a=1&a=2&a=3', { a: ['1', '2', '3'] }],
    ['constructor=1&toString=2&hasOwnProperty=3', { constructor: '1', toString: '2', hasOwnProperty: '3' }],
  ])('%j is read as %j', (text, expected) => {
    expect(fieldsOf(text)).toEqual(expected)
  })

  it('is read as the URL standard reads it, wherever nothing had to be guessed', () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.string({ unit: 'grapheme' }), fc.string({ unit: 'grapheme' }))),
        (pairs) => {
          const sent = new URLSearchParams(pairs.filter(([name]) => name !== '__proto__'))
          const fields = fieldsOf(sent.toString())
          for (const name of new Set(sent.keys())) expect([fields[name]].flat()).toEqual(sent.getAll(name))
          expect(Object.keys(fields)).toHaveLength(new Set(sent.keys()).size)
        },
      ),
    )
  })

  it('of any bytes is read or refused with a code, and pollutes nothing', () => {
    fc.assert(
      fc.property(fc.uint8Array(), (bytes) => {
        try {
          return typeof parseForm(bytes) === 'object'
        } catch (error) {
          return error instanceof FormError
        }
      }),
    )
    expect(() => fieldsOf('__proto__=1')).toThrow(expect.objectContaining({ code: 'form_proto_key' }))
    expect(() => fieldsOf('%5F_proto__=1')).toThrow(expect.objectContaining({ code: 'form_proto_key' }))
  })
})

describe('the text that Twilio signs', () => {
  it('sorts by name, keeps each value of a repeated field once, and ends at a thousand fields', () => {
    expect(sortedFormText(Buffer.from('b=2&a=1&b=1&b=2'))).toBe('a1b1b2')
    expect(sortedFormText(Buffer.from('a=1&'.repeat(999)))).toBe('a1')
    expect(sortedFormText(Buffer.from('a=1&'.repeat(1000)))).toBeUndefined()
  })
})
