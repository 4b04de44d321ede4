/** A parameter as Stripe takes it. `null` unsets a field; `undefined` leaves it out. */
export type Param =
  | string
  | number
  | bigint
  | boolean
  | null
  | undefined
  | readonly Param[]
  | { readonly [name: string]: Param }

/**
 * Parameters as Stripe's form encoding wants them: `metadata[order]=7`, `items[0][price]=…`, an empty value to unset.
 * Source: https://docs.stripe.com/api, "form-encoded request bodies", and stripe 23.1.0, read 2026-11-22.
 */
export function toForm(params: { readonly [name: string]: Param }): (readonly [string, string])[] {
  return Object.entries(params).flatMap(([name, value]) => fields(name, value))
}

function fields(name: string, value: Param): (readonly [string, string])[] {
  if (value === undefined) return []
  if (value === null) return [[name, '']]
  if (typeof value !== 'object') return [[name, String(value)]]
  return Object.entries(value).flatMap(([key, inner]) => fields(`${name}[${key}]`, inner))
}

/** The same for a query string. */
export function toQuery(params: { readonly [name: string]: Param }): Record<string, string> {
  return Object.fromEntries(toForm(params))
}
