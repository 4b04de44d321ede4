/**
 * JSON that a hostile system sends, written for this drill after the grammar of RFC 8259. Bytes are given as latin1
 * where they are no UTF-8.
 */

export interface Body {
  readonly name: string
  readonly bytes: Buffer
  /** `yes`: it is JSON and must pass as it is; `no`: it must be refused; `either`: the grammar leaves it open. */
  readonly isJson: 'yes' | 'no' | 'either'
}

const nested = (depth: number): string => '['.repeat(depth) + ']'.repeat(depth)

const YES: Readonly<Record<string, string>> = {
  'empty array': '[]',
  'empty object': '{}',
  'a lonely number': '42',
  'a lonely string': '"text"',
  'a lonely null': ' null ',
  'true and false': '[true,false]',
  'white space everywhere': ' [\n1\t,\r2 ] ',
  'an empty key': '{"":0}',
  'a key with a NUL': '{"a\\u0000b":1}',
  'a string with a NUL': '["\\u0000"]',
  'a lone high surrogate': '["\\ud800"]',
  'a lone low surrogate': '["\\udfff"]',
  'surrogates the wrong way round': '["\\udc00\\ud800"]',
  'a noncharacter': '["\\uffff"]',
  'an astral character': '["\\ud834\\udd1e"]',
  'every short escape': '["\\"\\\\\\/\\b\\f\\n\\r\\t"]',
  'DEL in a string': '["\u007f"]',
  'line separators': '["\u2028\u2029"]',
  '2^53 and its neighbour': '[9007199254740992,9007199254740993]',
  '2^64': '[18446744073709551616]',
  '2^64 - 1': '{"id":18446744073709551615}',
  'minus 2^63': '[-9223372036854775808]',
  'a hundred digits': `[${'7'.repeat(100)}]`,
  'minus zero': '[-0]',
  'a long fraction': '[0.1234567890123456789012345678901234567890]',
  'an exponent': '[1E22,1e-7,1.5e+2]',
  'beyond a double': '[1e400]',
  'below a double': '[123.456e-789]',
  constructor: '{"constructor":{"prototype":{"polluted":true}}}',
  'names of methods': '{"toString":1,"hasOwnProperty":2,"valueOf":null,"then":"x","toJSON":1}',
  'nested as deep as is read': nested(60),
  'a thousand fields': `{${Array.from({ length: 1000 }, (_, i) => `"k${i}":${i}`).join(',')}}`,
}

const NO: Readonly<Record<string, string>> = {
  'white space alone': ' ',
  'a comma at the end': '[1,]',
  'two commas': '[1,,2]',
  'a comma in front': '[,1]',
  'no comma': '[1 2]',
  'an open array': '[1',
  'an open object': '{"a":1',
  'an open string': '["a',
  'a closing bracket too many': '[1]]',
  'two values': '1 2',
  'text behind': '{"a":true} x',
  'a comment': '[1/* */]',
  'single quotes': "{'a':0}",
  'a key without quotes': '{a:0}',
  'a number as key': '{1:1}',
  'no colon': '{"a" 1}',
  'two colons': '{"a"::1}',
  'a leading zero': '[012]',
  'a plus sign': '[+1]',
  'a point at the end': '[1.]',
  'a point in front': '[.1]',
  'an exponent without digits': '[1e]',
  hexadecimal: '[0x1]',
  NaN: '[NaN]',
  Infinity: '[-Infinity]',
  'a capital literal': '[True]',
  'half a literal': '[tru]',
  'a bad escape': '["\\x00"]',
  'half an escape': '["\\u00A"]',
  'a bare newline in a string': '["a\nb"]',
  'a bare tab in a string': '["\t"]',
  'a bare NUL': '["\u0000"]',
  'NUL for a value': '\u0000',
  HTML: '<!doctype html><html><body>Down for maintenance</body></html>',
  'a JavaScript prefix': ")]}',\n{}",
  'a function': '(function(){return 1})()',
  __proto__: '{"__proto__":{"polluted":true}}',
  '__proto__ further down': '{"a":[{"b":{"__proto__":null}}]}',
  'escaped __proto__': '{"\\u005f_proto__":1}',
  'the same key twice': '{"a":1,"a":2}',
  'deeper than is read': nested(100),
  'a hundred thousand brackets': '['.repeat(100_000),
}

/** No UTF-8, and so no JSON that systems may exchange (RFC 8259, 8.1); given as latin1. */
const NOT_UTF8: Readonly<Record<string, string>> = {
  'a byte that begins nothing': '["\xff"]',
  'an overlong slash': '["\xc0\xaf"]',
  'an encoded surrogate': '["\xed\xa0\x80"]',
  'beyond the last character': '["\xf4\xbf\xbf\xbf"]',
  'half a character': '["\xe0"]',
  'UTF-16': '\xff\xfe[\x00]\x00',
}

const EITHER: Readonly<Record<string, string>> = {
  'a byte order mark': '\ufeff{}',
  nothing: '',
}

const bodiesOf = (
  from: Readonly<Record<string, string>>,
  isJson: Body['isJson'],
  encoding: BufferEncoding = 'utf8',
): Body[] =>
  Object.entries(from).map(([name, text]) => ({ name, bytes: Buffer.from(text, encoding), isJson }))

export const BODIES: readonly Body[] = [
  ...bodiesOf(YES, 'yes'),
  ...bodiesOf(NO, 'no'),
  ...bodiesOf(NOT_UTF8, 'no', 'latin1'),
  ...bodiesOf(EITHER, 'either'),
]

/** Text that has broken programs: it must come back as it went. */
export const NAUGHTY: readonly string[] = [
  '',
  ' ',
  'undefined',
  'null',
  'NaN',
  '0',
  '1e1000',
  '__proto__',
  'constructor',
  'a\u0000b',
  'a\nb\r\nc',
  '\ud800',
  '\udfffx',
  '\ufeff',
  '\u202etxet',
  'Z͑ͫ̓ͪ̂ͫ̽͏̴̙̤̞͉͚̯̞̠͍A̴̵̜̰͔ͫ͗͢L̠ͨͧͩ͘G̴̻͈͍͔̹̑͗̎̅͛́O̵̹̻̝̳',
  '👩‍👩‍👧‍👦🏳️‍🌈',
  'ﷺ',
  "'; drop table runs; --",
  '" or 1=1 --',
  '$1 $$ \\x00 \\',
  '${7*7} {{7*7}} <%= 7*7 %>',
  '<script>alert(1)</script>',
  '=HYPERLINK("http://x","y")',
  '../../../../etc/passwd',
  '%s%s%n %00 %0d%0a',
  'a\r\nSet-Cookie: x=y',
  'Ω≈ç√∫˜µ≤≥÷',
  '田中さんにあげて下さい',
  'إذ هنا؟ من',
  'I̎ı ſ ß İ',
  'x'.repeat(2000),
]
