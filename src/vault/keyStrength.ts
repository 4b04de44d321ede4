import { decodeKey } from './masterKey.ts'

/** Of 32 random bytes some 30 differ; that fewer than this do does not happen by chance. */
const FEWEST_DIFFERENT = 16

/**
 * What makes a master key a weak one, in words; `undefined`: nothing that can be seen. A random key is not called weak:
 * the likeliest rule, that all bytes are printable, holds for (95/256)^32 of them, some 10^-14.
 */
export function weaknessOfKey(text: string): string | undefined {
  const bytes = decodeKey(text.trim())
  if (bytes === undefined) return 'is not 32 bytes, written as 64 hex digits or 44 characters of base64'
  if (new Set(bytes).size < FEWEST_DIFFERENT) return 'repeats itself'
  const steps = new Set(bytes.subarray(1).map((byte, i) => (byte - bytes[i]! + 256) % 256))
  if (steps.size < FEWEST_DIFFERENT) return 'is a sequence that can be guessed'
  if (bytes.every((byte) => byte >= 0x20 && byte < 0x7f))
    return 'is text, not random bytes: it can be guessed'
  return undefined
}
