import { describe, expect, it } from 'vitest'
import { systemRandom } from '../base/index.ts'
import { weaknessOfKey } from './keyStrength.ts'

const base64 = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64')
const bytesOf = (at: (i: number) => number): Uint8Array => Uint8Array.from({ length: 32 }, (_, i) => at(i))

describe('a master key', () => {
  it.each([
    ['one byte', base64(bytesOf(() => 7)), 'repeats itself'],
    ['eight bytes four times', base64(Buffer.from('k3Fz!9aQ'.repeat(4))), 'repeats itself'],
    ['a sequence', base64(bytesOf((i) => i)), 'is a sequence'],
    ['a sequence downwards', base64(bytesOf((i) => 255 - 3 * i)), 'is a sequence'],
    ['a sentence', base64(Buffer.from('correct horse battery staple 42!')), 'is text'],
    [
      'hex of hex',
      Buffer.from('0123456789abcdef0123456789abcdef').toString('hex'),
      'is a sequence|is text|repeats',
    ],
    ['too short a one', 'c2hvcnQ=', 'is not 32 bytes'],
    ['no key', 'changeme', 'is not 32 bytes'],
  ])('of %s is weak', (_, text, words) => {
    expect(weaknessOfKey(text)).toMatch(new RegExp(words))
  })

  it('of random bytes is not, in hex or base64, however it is surrounded', () => {
    for (let i = 0; i < 2_000; i++) {
      const bytes = systemRandom.bytes(32)
      expect(weaknessOfKey(`${bytes.toString('base64')}\n`)).toBeUndefined()
      expect(weaknessOfKey(bytes.toString('hex'))).toBeUndefined()
    }
  })
})
