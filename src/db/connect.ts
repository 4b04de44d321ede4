import { Kysely, PostgresDialect } from 'kysely'
import pg from 'pg'
import type { Backend } from './backend.ts'

/** Anything that runs SQL: a pool, or a client within a transaction. */
export interface Queryable {
  query<Row extends pg.QueryResultRow = pg.QueryResultRow>(
    statement: string | pg.QueryConfig,
    values?: unknown[],
  ): Promise<pg.QueryResult<Row>>
}

export interface Database {
  readonly url: string
  /** Where a connection of one's own can be had, to listen on; `undefined` behind a pooler that gives none. */
  readonly listenUrl: string | undefined
  /** Milliseconds until a connection is given up that is being made, see {@link DatabaseOptions.url}. */
  readonly connectTimeoutMs: number
  readonly pool: pg.Pool
  readonly backend: Backend
  /** For statements off the hot path, and for migrations. */
  readonly kysely: Kysely<unknown>
  close(): Promise<void>
}

export interface DatabaseOptions {
  /**
   * `postgres://user:password@host:port/name`; with `?pgbouncer=true` where a pooler in transaction mode answers there.
   * `connect_timeout` is read as libpq reads it: seconds until a connection is given up. Default 5, at most 60, which
   * is also what 0 (libpq: never) means: a heartbeat that waits for ever would never be made again.
   */
  readonly url: string
  /** PostgreSQL itself, past the pooler. Default: `url`, where that is no pooler. */
  readonly directUrl?: string | undefined
  /** What answers there. Default `postgres`. */
  readonly backend?: Backend
  /** Most connections. Default 10. */
  readonly max?: number
  /** Shown in pg_stat_activity. Default `trestle`. */
  readonly name?: string
  /**
   * Milliseconds after which a statement is given up, so that a database that hangs is noticed. Default 30,000.
   * Enforced by the client too, since a server that hangs enforces nothing.
   */
  readonly statementTimeoutMs?: number
  /**
   * Milliseconds after which the server ends a transaction whose process says nothing more, with the locks that it
   * holds. Default 4,000: less than it takes until a node that stands still is declared dead and its runs are taken.
   */
  readonly silentTransactionMs?: number
}

/**
 * Opens a pool. Connections are made on first use. Statements on one connection are pipelined: a transaction of
 * several statements costs one round trip for what does not depend on an earlier answer.
 */
export function openDatabase(options: DatabaseOptions): Database {
  const { url, pooled, connectTimeoutMs } = readUrl(options.url)
  const timeout = options.statementTimeoutMs ?? 30_000
  const limits = {
    statement_timeout: timeout,
    idle_in_transaction_session_timeout: options.silentTransactionMs ?? 4_000,
  }
  const pool = new pg.Pool({
    connectionString: url,
    max: options.max ?? 10,
    application_name: options.name ?? 'trestle',
    connectionTimeoutMillis: connectTimeoutMs,
    idleTimeoutMillis: 30_000,
    query_timeout: timeout + 1_000,
    keepAlive: true,
    pipeline: true,
    ...(pooled
      ? { Client: clientOfPooler(limits) }
      : {
          ...limits,
          // A plan made while the tables were small would be kept when they are large: plan for the parameters at hand.
          options: '-c plan_cache_mode=force_custom_plan',
        }),
  })
  // An idle connection that breaks is replaced by the pool; whoever uses the database next sees the fault.
  pool.on('error', () => {})
  // Between the pool's listener and its user's there is a moment without any, and a server that is killed may speak in
  // it: without this one that would end the process. The next statement of the connection fails.
  pool.on('connect', (client) => client.on('error', () => {}))
  const kysely = new Kysely<unknown>({ dialect: new PostgresDialect({ pool }) })
  return {
    url: options.url,
    listenUrl: options.directUrl ?? (pooled ? undefined : url),
    connectTimeoutMs,
    backend: options.backend ?? 'postgres',
    pool,
    kysely,
    close: () => pool.end(),
  }
}

/** The parameter of a url that says that a pooler in transaction mode answers there, as other tools spell it too. */
const POOLER_PARAMETER = 'pgbouncer'

const CONNECT_TIMEOUT_MS = 5_000
const LONGEST_CONNECT_MS = 60_000

interface DatabaseUrl {
  /** Without what is ours alone. */
  readonly url: string
  readonly pooled: boolean
  readonly connectTimeoutMs: number
}

function readUrl(given: string): DatabaseUrl {
  const asGiven = { url: given, pooled: false, connectTimeoutMs: CONNECT_TIMEOUT_MS }
  if (!given.includes('?') || !URL.canParse(given)) return asGiven
  const url = new URL(given)
  const connectTimeoutMs = secondsIn(url.searchParams.get('connect_timeout')) ?? CONNECT_TIMEOUT_MS
  if (!url.searchParams.has(POOLER_PARAMETER)) return { ...asGiven, connectTimeoutMs }
  const pooled = url.searchParams.get(POOLER_PARAMETER) === 'true'
  url.searchParams.delete(POOLER_PARAMETER)
  return { url: url.href, pooled, connectTimeoutMs }
}

/**
 * A whole number of seconds, in milliseconds; zero or less means as long as it takes:
 * https://www.postgresql.org/docs/18/libpq-connect.html (2026-11).
 */
function secondsIn(text: string | null): number | undefined {
  if (text === null || !/^-?\d{1,6}$/.test(text)) return undefined
  const ms = Number(text) * 1000
  return ms > 0 ? Math.min(ms, LONGEST_CONNECT_MS) : LONGEST_CONNECT_MS
}

/**
 * Connections of a pooler in transaction mode (PgBouncer): behind it every transaction may be on another session. So
 * nothing is left in one: statements have no names, and each transaction brings the limits that a session would have
 * had. Statements without a name are planned for their parameters each time, as they should be.
 */
function clientOfPooler(limits: Readonly<Record<string, number>>): typeof pg.Client {
  const begin = ['begin', ...Object.entries(limits).map(([name, ms]) => `set local ${name} = ${ms}`)].join(
    '; ',
  )
  class PoolerClient extends pg.Client {
    override query(...given: never[]): never {
      const [first, values, callback] = given as readonly unknown[]
      const statement = first === 'begin' ? begin : isNamed(first) ? { ...first, name: undefined } : first
      return super.query(statement as never, values as never, callback as never) as never
    }
  }
  return PoolerClient
}

function isNamed(statement: unknown): statement is { readonly name: string } {
  return typeof statement === 'object' && statement !== null && 'name' in statement
}
