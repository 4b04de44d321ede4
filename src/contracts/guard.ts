import { escapePointer, LosslessNumber, reasonOf } from '../base/index.ts'
import type { Schema } from '../define/index.ts'

/** The outcome of a check. */
type Checked<Value> =
  | { readonly as: 'valid'; readonly value: Value }
  /** `path`: JSON Pointer to the place, `''` for the whole. `reason`: what was expected and what kind of thing came. */
  | { readonly as: 'broken'; readonly path: string; readonly reason: string }

/** Longest reason, in characters. */
const REASON_LIMIT = 500

/** Holds an event's data against its contract. */
export function checkEvent<Data>(schema: Schema<Data>, data: unknown): Checked<Data> {
  return guard(schema, data)
}

/** Holds the raw output within a provider's answer against the operation's contract. */
export function checkAnswer<Output>(schema: Schema<Output>, raw: unknown): Checked<Output> {
  return guard(schema, raw)
}

/** Holds what a flow hands to an operation against what the operation takes. */
export function checkInput<Input>(schema: Schema<Input>, input: unknown): Checked<Input> {
  return guard(schema, input)
}

/** Holds a value against any Standard Schema (https://standardschema.dev, version 1). */
export function guard<Value>(schema: Schema<Value>, value: unknown): Checked<Value> {
  let result: ReturnType<Schema<Value>['~standard']['validate']>
  try {
    result = schema['~standard'].validate(value)
  } catch (error) {
    return broken('', `the contract itself failed (${reasonOf(error)})`)
  }
  if (result instanceof Promise) {
    result.catch(() => undefined)
    // zod also answers so when a transform or refinement of the schema throws.
    return broken(
      '',
      'the contract has an asynchronous part, or a function in it threw. Neither is allowed here',
    )
  }
  if (result.issues === undefined) return { as: 'valid', value: result.value }
  return brokenBy(result.issues, value)
}

interface Issue {
  readonly message: string
  readonly path?: readonly (PropertyKey | { readonly key: PropertyKey })[] | undefined
}

function brokenBy(issues: readonly Issue[], value: unknown): Checked<never> {
  const first = issues[0]
  if (first === undefined) return broken('', 'the contract refused it without saying why')
  const { keys, message } = deepest(first)
  const expected = message.replace(/, received \w+$/, '') // zod's own word for what came; ours says more
  const path = keys.map((key) => `/${escapePointer(String(key))}`).join('')
  const more = issues.length > 1 ? `, and ${issues.length - 1} more` : ''
  return broken(path, `${expected}; got ${kindOf(valueAt(value, keys))}${more}`)
}

function broken(path: string, reason: string): Checked<never> {
  return { as: 'broken', path, reason: reason.slice(0, REASON_LIMIT) }
}

interface Found {
  readonly keys: readonly PropertyKey[]
  readonly message: string
}

/** A union says only that no branch fits (zod, `invalid_union`); the branch that came furthest tells why. */
function deepest(issue: Issue): Found {
  const keys = keysOf(issue)
  const branches = (issue as { readonly errors?: unknown }).errors
  let best: Found = { keys, message: issue.message }
  if (!Array.isArray(branches)) return best
  for (const branch of branches as readonly unknown[]) {
    const inner = Array.isArray(branch) ? (branch[0] as Issue | undefined) : undefined
    if (inner === undefined || typeof inner.message !== 'string') continue
    const found = deepest(inner)
    if (keys.length + found.keys.length > best.keys.length)
      best = { keys: [...keys, ...found.keys], message: found.message }
  }
  return best
}

function keysOf(issue: Issue): readonly PropertyKey[] {
  return (issue.path ?? []).map((part) => (typeof part === 'object' ? part.key : part))
}

function valueAt(value: unknown, keys: readonly PropertyKey[]): unknown {
  let here = value
  for (const key of keys) {
    if (here === null || typeof here !== 'object' || !Object.hasOwn(here, key)) return undefined
    here = (here as Record<PropertyKey, unknown>)[key]
  }
  return here
}

/** What came, as a kind and a size: never the value itself. */
function kindOf(value: unknown): string {
  if (value === undefined) return 'nothing'
  if (value === null) return 'null'
  if (typeof value === 'bigint')
    return 'a whole number beyond 2^53, which a number cannot hold exactly (declare it as a bigint)'
  if (value instanceof LosslessNumber)
    return 'a decimal with more digits than a number can hold (declare it as a LosslessNumber)'
  if (typeof value === 'string') return value === '' ? 'empty text' : `text of ${value.length} characters`
  if (Array.isArray(value)) return `a list of ${value.length}`
  if (typeof value === 'object') return 'an object'
  return `a ${typeof value}`
}
