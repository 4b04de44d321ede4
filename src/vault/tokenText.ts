import { crc32 } from 'node:zlib'
import type { Random } from '../base/index.ts'

const PREFIX = 'trs_'
/** Letters and digits alone: a double click takes the whole, and no encoding changes it. */
const ALPHABET = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'
const SECRET_BYTES = 32
const SECRET_LENGTH = 43
const CHECK_LENGTH = 6
/** How much of a token a list shows: 36 of its 256 bits, so that a person finds it again. */
const START_LENGTH = PREFIX.length + 6

const CHECKED = /^trs_[0-9A-Za-z]{49}$/
/** Tokens of before the check digits: 32 bytes in base64url. */
const UNCHECKED = /^trs_[A-Za-z0-9_-]{43}$/

/**
 * A new token: `trs_`, 32 random bytes as 43 digits of base 62, and their CRC-32 as 6 more. A scanner of secrets that
 * finds `trs_[0-9A-Za-z]{49}` can tell by the last 6 whether it is one, without asking anybody.
 */
export function newTokenText(random: Random): string {
  const secret = inBase62(BigInt(`0x${random.bytes(SECRET_BYTES).toString('hex')}`), SECRET_LENGTH)
  return PREFIX + secret + checkOf(secret)
}

/** Whether it has the form of a token, so that it is worth looking up. */
export function isTokenText(text: string): boolean {
  if (!CHECKED.test(text)) return UNCHECKED.test(text)
  const secret = text.slice(PREFIX.length, -CHECK_LENGTH)
  return text.endsWith(checkOf(secret))
}

/** What is shown of a token to find it again, such as `trs_3kP9xA`. */
export function startOf(text: string): string {
  return text.slice(0, START_LENGTH)
}

function checkOf(secret: string): string {
  return inBase62(BigInt(crc32(secret)), CHECK_LENGTH)
}

function inBase62(value: bigint, length: number): string {
  let text = ''
  for (let rest = value; text.length < length; rest /= 62n) text = ALPHABET[Number(rest % 62n)]! + text
  return text
}
