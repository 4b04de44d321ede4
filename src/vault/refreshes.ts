import type { Random } from '../base/index.ts'
import type { Queryable } from '../db/index.ts'
import type { EgressResult } from '../egress/index.ts'
import type { VersionedGrant } from './grants.ts'
import type { MasterKey } from './masterKey.ts'
import { open, seal, SEALED_VALUE_LIMIT } from './seal.ts'
import { placeOfAnswer } from './sealedColumns.ts'
import { sealingKey } from './sealingKey.ts'
import type { ConnectionRef } from './storage.ts'
import type { ClientSecrets } from './tokenEndpoint.ts'

/** A token endpoint's answer, as it is sealed before anybody reads it. */
export interface KeptAnswer {
  readonly status: number
  readonly retryAfter?: string
  readonly body: string
  /** When it came, in ms since 1970: lifetimes count from here, however late it is read. */
  readonly at: number
  /** Who asked, for a refresh: its connection may be removed, with its secrets, before this is read. */
  readonly client?: ClientSecrets
}

/** A refresh that was begun. */
export interface Refresh {
  readonly id: string
  /** The version of the grant that it was begun for. */
  readonly replaces: string
  /** An earlier answer for the same version may have been lost, so that the provider may have rotated already. */
  readonly doubtful: boolean
  /** How many times in a row the token endpoint could not be used for this version. */
  readonly failures: number
}

/** Whose turn it is to refresh a grant. */
export type Turn =
  /** It was refreshed since: nothing is to be done. */
  | { readonly as: 'changed'; readonly grant: VersionedGrant }
  /** Ours, until the lease ends: ask. */
  | { readonly as: 'ours'; readonly refresh: Refresh; readonly grant: VersionedGrant }
  /** An answer is kept that nobody has read: read it. */
  | { readonly as: 'answered'; readonly refresh: Refresh; readonly grant: VersionedGrant }
  /** Another node asks right now. */
  | { readonly as: 'theirs' }
  /** The token endpoint failed, and is left alone until then. */
  | { readonly as: 'paused'; readonly code: string; readonly reason: string; readonly retryAt: number }

/** A refresh as its row has it. */
export interface RefreshRow extends Refresh {
  readonly state: 'asking' | 'answered' | 'failed'
  /** By the database's clock. */
  readonly leaseEnded: boolean
  readonly code: string | null
  readonly reason: string | null
  readonly retryAt: number | undefined
}

/** What the rows for the grant's version say about whose turn it is. */
export function turnOf(
  rows: readonly RefreshRow[],
  grant: VersionedGrant,
  now: number,
):
  | Exclude<Turn, { as: 'changed' | 'ours' }>
  | { readonly as: 'free'; readonly after: RefreshRow | undefined } {
  const own = rows.filter((row) => row.replaces === grant.version)
  const answered = own.find((row) => row.state === 'answered')
  if (answered) return { as: 'answered', refresh: answered, grant }
  if (own.some((row) => row.state === 'asking' && !row.leaseEnded)) return { as: 'theirs' }
  const failed = own.find((row) => row.state === 'failed')
  if (failed?.retryAt !== undefined && now < failed.retryAt)
    return {
      as: 'paused',
      code: failed.code ?? 'token_endpoint_failed',
      reason: failed.reason ?? '',
      retryAt: failed.retryAt,
    }
  const lost = own.find((row) => row.state === 'asking')
  return { as: 'free', after: lost ?? failed }
}

export interface RefreshStore {
  /** The refreshes of a connection whose outcome is open, newest first. */
  list(client: Queryable, connection: ConnectionRef): Promise<readonly RefreshRow[]>
  /**
   * Begins one for `grant` in place of `after`, which failed or was lost with its node. The caller holds the
   * connection's row, and has seen that it is nobody else's turn.
   */
  begin(
    client: Queryable,
    connection: ConnectionRef,
    grant: VersionedGrant,
    options: { readonly id: string; readonly after: RefreshRow | undefined; readonly leaseMs: number },
  ): Promise<Refresh>
  /** Seals the answer and keeps it, also where the refresh was taken for lost meanwhile. */
  keepAnswer(
    client: Queryable,
    connection: ConnectionRef,
    refresh: Refresh,
    answer: KeptAnswer,
  ): Promise<void>
  /** `undefined` if another node has read it already. */
  readAnswer(client: Queryable, connection: ConnectionRef, refresh: Refresh): Promise<KeptAnswer | undefined>
  /** It came to nothing; nobody asks again before `retryAt`. `doubtful`: an answer of it may have been lost. */
  fail(client: Queryable, connection: ConnectionRef, refresh: Refresh, failure: Failure): Promise<void>
  /** Its answer is in the grant, or said nothing that is worth keeping. */
  finish(client: Queryable, connection: ConnectionRef, refresh: Refresh): Promise<void>
  /** Drops every refresh that holds no answer: the grant that they were for is not there any more. */
  dropEmpty(client: Queryable, connection: ConnectionRef): Promise<void>
  /** Another grant stands there: its answer stays sealed where it is, for a person. */
  supersede(client: Queryable, connection: ConnectionRef, refresh: Refresh): Promise<void>
}

export interface Failure {
  readonly code: string
  readonly reason: string
  /** Milliseconds since 1970. */
  readonly retryAt: number
  readonly doubtful: boolean
}

interface StoredRow {
  readonly id: string
  readonly replaces: string
  readonly state: RefreshRow['state']
  readonly lease_ended: boolean
  readonly doubtful: boolean
  readonly failures: number
  readonly code: string | null
  readonly reason: string | null
  readonly retry_at: Date | null
}

/** The most of an answer that is kept, in bytes as it is sealed. Real ones have some 2 KB. */
export const ANSWER_LIMIT = SEALED_VALUE_LIMIT / 2

/** What of an exchange is kept; `undefined` where no answer came that could hold a token. */
export function keptAnswerOf(result: EgressResult, at: number): KeptAnswer | undefined {
  if (result.as !== 'answered' || result.body.length > ANSWER_LIMIT) return undefined
  const retryAfter = result.headers['retry-after']
  const kept = {
    status: result.status,
    body: result.body.toString(),
    at,
    ...(retryAfter === undefined ? {} : { retryAfter }),
  }
  // As it is sealed it may be several times as long: control characters are written as six.
  return Buffer.byteLength(JSON.stringify(kept)) > ANSWER_LIMIT ? undefined : kept
}

/** Refreshes in the table `grant_refreshes`. No row that holds an unread answer is ever deleted here. */
export function createRefreshStore(options: {
  readonly key: MasterKey
  readonly random: Random
}): RefreshStore {
  const { key, random } = options
  const placeOf = (connection: ConnectionRef, id: string) =>
    placeOfAnswer(connection.tenant, connection.id, id)
  const named = (connection: ConnectionRef, { id }: Refresh) => [connection.tenant, connection.id, id]

  async function dropEmpty(client: Queryable, connection: ConnectionRef): Promise<void> {
    await client.query(
      `delete from grant_refreshes where tenant = $1 and connection_id = $2 and state in ('asking', 'failed')`,
      [connection.tenant, connection.id],
    )
  }

  return {
    async list(client, connection) {
      const { rows } = await client.query<StoredRow>(
        `select id, replaces::text, state, lease_until <= clock_timestamp() as lease_ended, doubtful, failures, code,
           reason, retry_at
         from grant_refreshes where tenant = $1 and connection_id = $2 and state in ('asking', 'answered', 'failed')
         order by begun_at desc, id desc`,
        [connection.tenant, connection.id],
      )
      return rows.map(({ lease_ended, retry_at, ...row }) => ({
        ...row,
        leaseEnded: lease_ended,
        retryAt: retry_at?.getTime(),
      }))
    },

    async begin(client, connection, grant, { id, after, leaseMs }) {
      const lost = after?.state === 'asking'
      const refresh: Refresh = {
        id,
        replaces: grant.version,
        doubtful: lost || after?.doubtful === true,
        failures: (after?.failures ?? 0) + (lost ? 1 : 0),
      }
      await dropEmpty(client, connection) // What they knew is in the new one.
      await client.query(
        `insert into grant_refreshes (tenant, connection_id, id, replaces, state, doubtful, failures, lease_until)
         values ($1, $2, $3, $4::bigint, 'asking', $5, $6, clock_timestamp() + $7 * interval '1 millisecond')`,
        [...named(connection, refresh), refresh.replaces, refresh.doubtful, refresh.failures, leaseMs],
      )
      return refresh
    },

    async keepAnswer(client, connection, refresh, answer) {
      const { wrapper } = await sealingKey(client, key)
      const place = placeOf(connection, refresh.id)
      const sealed = await seal(wrapper, place, Buffer.from(JSON.stringify(answer)), random)
      await client.query(
        `insert into grant_refreshes (tenant, connection_id, id, replaces, state, doubtful, failures, lease_until, answer)
         values ($1, $2, $3, $4::bigint, 'answered', $5, $6, clock_timestamp(), $7)
         on conflict (tenant, connection_id, id) do update
           set state = 'answered', answer = excluded.answer, lease_until = excluded.lease_until
           where grant_refreshes.state = 'asking'`,
        [...named(connection, refresh), refresh.replaces, refresh.doubtful, refresh.failures, sealed],
      )
    },

    async readAnswer(client, connection, refresh) {
      const { rows } = await client.query<{ answer: Buffer }>(
        `select answer from grant_refreshes
         where tenant = $1 and connection_id = $2 and id = $3 and state = 'answered'`,
        named(connection, refresh),
      )
      const sealed = rows[0]?.answer
      if (sealed === undefined) return undefined
      return JSON.parse((await open(key, placeOf(connection, refresh.id), sealed)).toString()) as KeptAnswer
    },

    async fail(client, connection, refresh, { code, reason, retryAt, doubtful }) {
      await client.query(
        `update grant_refreshes set state = 'failed', answer = null, failures = failures + 1,
           doubtful = doubtful or $4, code = $5, reason = $6, retry_at = to_timestamp($7::float8 / 1000)
         where tenant = $1 and connection_id = $2 and id = $3 and state in ('asking', 'answered')`,
        [...named(connection, refresh), doubtful, code, reason, retryAt],
      )
    },

    async finish(client, connection, refresh) {
      await client.query(
        'delete from grant_refreshes where tenant = $1 and connection_id = $2 and id = $3',
        named(connection, refresh),
      )
    },

    dropEmpty,

    async supersede(client, connection, refresh) {
      await client.query(
        `update grant_refreshes set state = 'superseded' where tenant = $1 and connection_id = $2 and id = $3`,
        named(connection, refresh),
      )
    },
  }
}
