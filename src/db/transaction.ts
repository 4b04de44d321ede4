import type { Writable } from 'node:stream'
import type pg from 'pg'
import { RetryableError, TrestleError } from '../base/index.ts'
import type { Queryable } from './connect.ts'

/**
 * Runs `work` in one transaction and commits. Where `work` throws, everything is rolled back. A fault of the
 * connection is a {@link RetryableError} `database_unavailable`; if it happened during COMMIT, whether the
 * transaction was committed is unknown, and the caller's keys must absorb a repetition.
 */
export async function transaction<Result>(
  pool: pg.Pool,
  work: (client: Queryable) => Promise<Result>,
): Promise<Result> {
  const client = await connect(pool)
  let broken: Error | undefined
  const onError = (error: Error): void => {
    broken = error
  }
  client.on('error', onError)
  try {
    gather(client)
    const begun = client.query('begin')
    begun.catch(() => {}) // Pipelined: the same fault also fails the statements behind it.
    const result = await work({
      query: (statement, values) => {
        gather(client)
        return client.query(statement, values)
      },
    })
    await begun
    const committed = await client.query('commit')
    if (committed.command !== 'COMMIT')
      throw new RetryableError(
        'transaction_rolled_back',
        'The database rolled the transaction back. Try again.',
      )
    return result
  } catch (error) {
    const unavailable = asUnavailable(error)
    if (unavailable) broken ??= unavailable
    else await client.query('rollback').catch((fault: Error) => (broken ??= fault))
    throw unavailable ?? error
  } finally {
    client.off('error', onError)
    client.release(broken)
  }
}

/** Statements that are issued in one turn leave in one write. */
function gather(client: pg.PoolClient): void {
  const { stream } = (client as unknown as { connection: { stream: Writable } }).connection
  stream.cork()
  process.nextTick(() => stream.uncork())
}

async function connect(pool: pg.Pool): Promise<pg.PoolClient> {
  try {
    return await pool.connect()
  } catch (cause) {
    throw asUnavailable(cause) ?? cause
  }
}

/**
 * Whether the fault is of the data in the statement: SQLSTATE classes 22 (data exception), 23 (constraint violation)
 * and 54 (limit exceeded, such as an index row), and parameters that are too long for a string.
 */
export function isDataError(error: unknown): boolean {
  return error instanceof RangeError || /^(22|23|54)/.test(sqlState(error))
}

/** Two transactions waited for each other, or one could not be serialized: the same may be tried again. */
export function isConflict(error: unknown): boolean {
  return /^(40001|40P01)$/.test(sqlState(error))
}

/** The fault as {@link RetryableError} where the database was away, shutting down, full or too slow; else undefined. */
export function asUnavailable(error: unknown): RetryableError | undefined {
  // What our own code throws within a transaction says itself what it is, whatever words stand in it.
  if (error instanceof TrestleError) return error instanceof RetryableError ? error : undefined
  const state = sqlState(error)
  // 08 connection, 53 resources, 57P0x shutdown, 57014 statement timeout, 58 system, 25006 read-only, 25P03 silent for too
  // long within a transaction; no state: the client's own.
  const away =
    state === ''
      ? error instanceof Error && !(error instanceof TypeError) && isClientFault(error)
      : /^(08|53|57|58|25006|25P03)/.test(state)
  return away
    ? new RetryableError(
        'database_unavailable',
        `The database cannot be used now: ${(error as Error).message}${hintFor(error as Error)}`,
        { cause: error },
      )
    : undefined
}

/** What PgBouncer says of a connection that was not told about it. */
function hintFor({ message }: Error): string {
  return /unsupported startup parameter/.test(message)
    ? '. That is a pooler: add ?pgbouncer=true to DATABASE_URL.'
    : ''
}

function isClientFault(error: Error): boolean {
  const code = (error as NodeJS.ErrnoException).code
  if (typeof code === 'string' && /^(E[A-Z]+|ERR_)/.test(code)) return true
  return /connection|terminated|timeout|not queryable|client was closed|cannot use a pool/i.test(
    error.message,
  )
}

/** Whether PostgreSQL itself answered with this error. */
export function isDatabaseError(error: unknown): boolean {
  return sqlState(error) !== ''
}

function sqlState(error: unknown): string {
  const code = (error as { code?: unknown } | null)?.code
  // Each class has a digit in its states; EPIPE and other errors of the system have none.
  return typeof code === 'string' && /^(?=.*[0-9])[0-9A-Z]{5}$/.test(code) ? code : ''
}
