import Big from 'big.js'
import { UsageError } from './errors.ts'

/** Digits after the point in this currency's minor unit, from the runtime's own tables (ISO 4217). */
function minorDigits(currency: string): number {
  try {
    return (
      new Intl.NumberFormat('en', { style: 'currency', currency }).resolvedOptions().maximumFractionDigits ??
      2
    )
  } catch (cause) {
    throw new UsageError(
      'currency_invalid',
      `"${currency}" is not a currency. Write its three-letter ISO 4217 code, for example 'EUR'.`,
      { cause },
    )
  }
}

/** Minor units (cents) as the exact decimal text that most accounting APIs want: `(1999, 'usd')` is `'19.99'`, `(500, 'jpy')` is `'500'`. */
export function minorToDecimal(minor: number | bigint, currency: string): string {
  if (typeof minor === 'number' && !Number.isSafeInteger(minor))
    throw new UsageError(
      'amount_invalid',
      `${minor} is not a whole number of minor units. Pass cents, for example 1999 for 19.99.`,
    )
  const digits = minorDigits(currency)
  return new Big(minor.toString()).div(new Big(10).pow(digits)).toFixed(digits)
}

/** Exact decimal text as minor units: `('19.99', 'usd')` is `1999`. Refuses fractions of a minor unit and amounts beyond 2^53. */
export function decimalToMinor(decimal: string | number, currency: string): number {
  const minor = new Big(decimal).times(new Big(10).pow(minorDigits(currency)))
  const whole = Number(minor.toFixed(0))
  if (!minor.eq(minor.toFixed(0)) || !Number.isSafeInteger(whole))
    throw new UsageError(
      'amount_invalid',
      `${decimal} ${currency} is not a whole number of minor units below 2^53. Round it first, and say how.`,
    )
  return whole
}

/** An amount for people: `money(1999, 'usd')` is `$19.99`. */
export function money(minor: number | bigint, currency: string, locale = 'en-US'): string {
  const text = minorToDecimal(minor, currency)
  return new Intl.NumberFormat(locale, { style: 'currency', currency }).format(text as unknown as number)
}
