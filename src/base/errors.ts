/**
 * Errors of Trestle. The class says what to do, `code` says what happened, `cause` keeps the origin, and the
 * text tells the reader what to try next.
 */
export class TrestleError extends Error {
  readonly code: string
  constructor(code: string, message: string, options?: { cause?: unknown }) {
    super(message, options)
    this.name = new.target.name
    this.code = code
  }
}

/** The caller asked for something that cannot be: mend the input and ask again. */
export class UsageError extends TrestleError {}

/** A fault that may pass: the same thing may be tried again later. */
export class RetryableError extends TrestleError {
  /** Earliest time for the next try, in milliseconds since 1970, where the other side named one. */
  readonly retryAt: number | undefined
  constructor(code: string, message: string, options?: { cause?: unknown; retryAt?: number }) {
    super(code, message, options)
    this.retryAt = options?.retryAt
  }
}

/** A fault that will not pass by itself: trying the same again is pointless. */
export class PermanentError extends TrestleError {}

/** Something that is not there, or that this caller may not see. */
export class NotFoundError extends TrestleError {
  constructor(what: string, id: string, hint = '') {
    super('not_found', `There is no ${what} ${id}.${hint ? ` ${hint}` : ''}`)
  }
}

/** A reason in words, whatever was thrown: authors' code may throw anything. Never empty, never over 2,000 characters. */
export function reasonOf(thrown: unknown): string {
  const text =
    thrown instanceof Error
      ? thrown.message || thrown.name
      : typeof thrown === 'string'
        ? thrown
        : `a value that is no Error was thrown: ${describe(thrown)}`
  return text.slice(0, 2000) || 'no reason was given'
}

function describe(value: unknown): string {
  try {
    return JSON.stringify(value) ?? String(value)
  } catch {
    return Object.prototype.toString.call(value)
  }
}

/** The code of an error of ours, or `fallback`. */
export function codeOf(thrown: unknown, fallback: string): string {
  if (thrown instanceof TrestleError) return thrown.code
  return fallback
}
