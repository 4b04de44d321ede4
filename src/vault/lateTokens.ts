import { HOUR, SECOND, type Clock, type Random } from '../base/index.ts'
import type { Queryable } from '../db/index.ts'
import type { Egress } from '../egress/index.ts'
import type { MasterKey } from './masterKey.ts'
import type { Refresh } from './refreshes.ts'
import { askToRevoke, type ToRevoke } from './revocation.ts'
import { open, seal } from './seal.ts'
import { placeOfAnswer } from './sealedColumns.ts'
import { sealingKey } from './sealingKey.ts'
import { GRANT_FIELD } from './secrets.ts'
import type { ConnectionRef, RecordEntry, VaultStorage } from './storage.ts'

/** Whoever asks for a revocation is taken for dead after this time: longer than an exchange takes. */
const LEASE_MS = 60 * SECOND
/** The first pause after the provider did not take a token back; each further one is twice as long. */
const FIRST_PAUSE_MS = 30 * SECOND
const LONGEST_PAUSE_MS = HOUR
/** Tokens of one look. */
const AT_ONCE = 20

/**
 * Tokens that a refresh brought after a person had taken its grant back: nobody uses them, and they are taken back at
 * the provider, too. Kept sealed in the refresh's row (state `revoking`) until they are, also where the connection is
 * removed meanwhile. That a grant was taken back is a row of its own (state `taken_back`).
 */
export interface LateTokens {
  /** In the transaction that ends a grant which was taken back: what refreshes of it bring later is late. */
  noteTakenBack(client: Queryable, connection: ConnectionRef): Promise<void>
  /** Whether what a refresh brought is of a grant that was taken back since. The caller holds the connection's row. */
  isLate(client: Queryable, connection: ConnectionRef, refresh: Refresh): Promise<boolean>
  /** Keeps in place of the refresh's answer what its tokens are taken back with. */
  keep(client: Queryable, connection: ConnectionRef, refresh: Refresh, late: ToRevoke): Promise<void>
  /**
   * Asks for those that are due, and gives how many there were. Those of a connection that a person authorized anew are
   * left alone: many providers end every token of the account with one of them.
   */
  revoke(): Promise<number>
}

export interface LateTokensOptions {
  readonly storage: VaultStorage
  readonly key: MasterKey
  readonly clock: Clock
  readonly random: Random
  readonly send: Egress['send']
  readonly record: RecordEntry
}

interface Due extends ConnectionRef {
  readonly refresh: string
  readonly name: string
  readonly answer: Buffer
  readonly failures: number
}

export function createLateTokens(options: LateTokensOptions): LateTokens {
  const { storage, key, random, clock, send, record } = options

  async function noteTakenBack(client: Queryable, { tenant, id }: ConnectionRef): Promise<void> {
    await client.query(
      `insert into grant_refreshes (tenant, connection_id, id, replaces, state, lease_until)
       select tenant, connection_id, 'taken_back', version, 'taken_back', clock_timestamp() from secrets
       where tenant = $1 and connection_id = $2 and field = $3
       on conflict (tenant, connection_id, id) do update set replaces = excluded.replaces`,
      [tenant, id, GRANT_FIELD],
    )
  }

  async function isLate(
    client: Queryable,
    { tenant, id }: ConnectionRef,
    { replaces }: Refresh,
  ): Promise<boolean> {
    const { rows } = await client.query(
      `select 1 from grant_refreshes where tenant = $1 and connection_id = $2 and state = 'taken_back' and replaces >= $3::bigint`,
      [tenant, id, replaces],
    )
    return rows.length > 0
  }

  async function keep(
    client: Queryable,
    { tenant, id }: ConnectionRef,
    refresh: Refresh,
    late: ToRevoke,
  ): Promise<void> {
    const { wrapper } = await sealingKey(client, key)
    const place = placeOfAnswer(tenant, id, refresh.id)
    const sealed = await seal(wrapper, place, Buffer.from(JSON.stringify(late)), random)
    // With a removed connection its row may be gone.
    await client.query(
      `insert into grant_refreshes (tenant, connection_id, id, replaces, state, lease_until, answer)
       values ($1, $2, $3, $4::bigint, 'revoking', clock_timestamp(), $5)
       on conflict (tenant, connection_id, id) do update
         set state = 'revoking', answer = excluded.answer, lease_until = excluded.lease_until, failures = 0`,
      [tenant, id, refresh.id, refresh.replaces, sealed],
    )
  }

  async function revoke(): Promise<number> {
    const due = await claim()
    // One that cannot be opened, or whose outcome cannot be written, comes again after its lease.
    await Promise.allSettled(due.map(revokeOne))
    return due.length
  }

  /** Every node may ask, and one gets each. */
  async function claim(): Promise<readonly Due[]> {
    const { rows } = await storage.reader.query<Due>(
      `update grant_refreshes r set lease_until = clock_timestamp() + ${LEASE_MS} * interval '1 millisecond'
       from (select r.tenant, r.connection_id, r.id, c.name from grant_refreshes r
           join connections c on c.tenant = r.tenant and c.id = r.connection_id and c.state <> 'active'
         where r.state = 'revoking' and r.lease_until <= clock_timestamp()
         order by r.lease_until limit ${AT_ONCE} for update of r skip locked) due
       where r.tenant = due.tenant and r.connection_id = due.connection_id and r.id = due.id
       returning r.tenant, r.connection_id as id, r.id as refresh, due.name, r.answer, r.failures`,
    )
    return rows
  }

  async function revokeOne(due: Due): Promise<void> {
    const { tenant, id, refresh, name, failures } = due
    const late = JSON.parse(
      (await open(key, placeOfAnswer(tenant, id, refresh), due.answer)).toString(),
    ) as ToRevoke
    const revocation = await askToRevoke(send, late, due)
    await storage.transaction(async (client) => {
      const isOurs = await (revocation.as === 'revoked' ? drop(client, due) : postpone(client, due))
      // What goes on failing is on record once.
      if (!isOurs || (revocation.as === 'failed' && failures > 0)) return
      await record(client, {
        tenant,
        at: clock.now(),
        actor: 'system',
        action: 'grant.revoked',
        target: id,
        outcome: revocation.as === 'revoked' ? 'succeeded' : revocation.code,
        connectionId: id,
        detail: {
          name,
          tokens: 'those of a refresh that ended after its grant was taken back',
          ...(revocation.as === 'failed' ? { reason: `${revocation.reason} It is asked again.` } : {}),
        },
      })
    })
  }

  async function drop(client: Queryable, { tenant, id, refresh }: Due): Promise<boolean> {
    const { rowCount } = await client.query(
      `delete from grant_refreshes where tenant = $1 and connection_id = $2 and id = $3 and state = 'revoking'`,
      [tenant, id, refresh],
    )
    return (rowCount ?? 0) > 0
  }

  async function postpone(client: Queryable, { tenant, id, refresh, failures }: Due): Promise<boolean> {
    const pauseMs = Math.min(FIRST_PAUSE_MS * 2 ** Math.min(failures, 10), LONGEST_PAUSE_MS)
    const { rowCount } = await client.query(
      `update grant_refreshes set failures = failures + 1, lease_until = clock_timestamp() + $4 * interval '1 millisecond'
       where tenant = $1 and connection_id = $2 and id = $3 and state = 'revoking'`,
      [tenant, id, refresh, pauseMs],
    )
    return (rowCount ?? 0) > 0
  }

  return { noteTakenBack, isLate, keep, revoke }
}
