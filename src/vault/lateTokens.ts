import { DAY, HOUR, SECOND, type Clock, type Random } from '../base/index.ts'
import type { Queryable } from '../db/index.ts'
import type { Egress } from '../egress/index.ts'
import { GIVEN_UP } from './authorizing/store.ts'
import type { MasterKey } from './masterKey.ts'
import type { Refresh } from './refreshes.ts'
import { askToRevoke, type Revocation, type ToRevoke } from './revocation.ts'
import { open, seal } from './seal.ts'
import { placeOfAnswer } from './sealedColumns.ts'
import { sealingKey } from './sealingKey.ts'
import { GRANT_FIELD, type SecretStore } from './secrets.ts'
import type { ConnectionRef, RecordEntry, VaultStorage } from './storage.ts'

/** Whoever asks for a revocation is taken for dead after this time: longer than an exchange takes. */
const LEASE_MS = 60 * SECOND
/** The first pause after the provider did not take a token back; each further one is twice as long. */
const FIRST_PAUSE_MS = 30 * SECOND
const LONGEST_PAUSE_MS = HOUR
/** How often the provider is asked at most: with these pauses, for three days. */
const MOST_TRIES = 78
/** So long a connection is waited for that is active with its former grant, and an answer that cannot be read. */
const KEPT_FOR_MS = 3 * DAY
/** What was given up may still be put in place by the node that asked. So long it counts as under way. */
const GIVEN_UP_FOR_MS = DAY
/** Tokens of one look. */
const AT_ONCE = 20

/**
 * Tokens that a refresh brought after a person had taken its grant back: nobody uses them, and they are taken back at
 * the provider, too. Kept sealed in the refresh's row (state `revoking`) until they are, also where the connection is
 * removed meanwhile. That a grant was taken back is a row of its own (state `taken_back`).
 *
 * Many providers end every token of the account with one of them. So they are taken back only while their connection
 * has no grant in use, and nobody authorizes it. Whatever comes of them is on record, and then their row is gone.
 */
export interface LateTokens {
  /** In the transaction that ends a grant which was taken back: what refreshes of it bring later is late. */
  noteTakenBack(client: Queryable, connection: ConnectionRef): Promise<void>
  /** Whether what a refresh brought is of a grant that was taken back since. The caller holds the connection's row. */
  isLate(client: Queryable, connection: ConnectionRef, refresh: Refresh): Promise<boolean>
  /** Keeps in place of the refresh's answer what its tokens are taken back with. */
  keep(
    client: Queryable,
    connection: ConnectionRef,
    refresh: Pick<Refresh, 'id' | 'replaces'>,
    late: ToRevoke,
  ): Promise<void>
  /**
   * In the transaction that puts another grant in place: what is kept of the former one is left alone from then on. The
   * caller holds the connection's row.
   */
  leave(client: Queryable, connection: ConnectionRef): Promise<void>
  /** Sees to those that are due, and gives how many there were. */
  revoke(): Promise<number>
}

export interface LateTokensOptions {
  readonly storage: VaultStorage
  readonly key: MasterKey
  readonly clock: Clock
  readonly random: Random
  readonly send: Egress['send']
  readonly readSecrets: SecretStore['read']
  readonly record: RecordEntry
}

interface Due extends ConnectionRef {
  readonly refresh: string
  readonly name: string
  /** Its connection has a grant in use. */
  readonly active: boolean
  /** Not a late token yet: an answer of a removed connection that nobody could read. */
  readonly unread: boolean
  readonly answer: Buffer
  readonly failures: number
}

/** What came of one, for the ledger. */
interface Outcome {
  readonly outcome: string
  readonly reason?: string
  /** It is not asked again. */
  readonly isLast: boolean
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
    refresh: Pick<Refresh, 'id' | 'replaces'>,
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

  async function leave(client: Queryable, { tenant, id }: ConnectionRef): Promise<void> {
    const { rows } = await client.query<{ state: string; name: string }>(
      `delete from grant_refreshes r using connections c
       where c.tenant = r.tenant and c.id = r.connection_id and r.tenant = $1 and r.connection_id = $2
         and r.state in ('revoking', 'taken_back') returning r.state, c.name`,
      [tenant, id],
    )
    const reason =
      'The connection has a grant in use again, which many providers would end with them. Nobody uses them.'
    for (const { state, name } of rows)
      if (state === 'revoking') await note(client, { tenant, id, name }, { outcome: 'left_alone', reason })
  }

  async function revoke(): Promise<number> {
    const due = await claim()
    // One that cannot be opened, or whose outcome cannot be written, comes again after its lease.
    await Promise.allSettled(due.map(seeTo))
    return due.length
  }

  function seeTo(due: Due): Promise<void> {
    if (due.unread) return giveUpUnread(due)
    return due.active ? leaveOne(due) : revokeOne(due)
  }

  /** Every node may ask, and one gets each; none while a person is about to authorize its connection anew. */
  async function claim(): Promise<readonly Due[]> {
    const { rows } = await storage.reader.query<Due>(
      `update grant_refreshes r set lease_until = clock_timestamp() + ${LEASE_MS} * interval '1 millisecond'
       from (select r.tenant, r.connection_id, r.id, c.name, c.state = 'active' as active, r.state = 'answered' as unread from grant_refreshes r
           join connections c on c.tenant = r.tenant and c.id = r.connection_id
             and (c.state <> 'active' or r.begun_at < clock_timestamp() - ${KEPT_FOR_MS} * interval '1 millisecond')
         where (r.state = 'revoking' or r.state = 'answered' and c.state = 'revoked'
             and r.begun_at < clock_timestamp() - ${KEPT_FOR_MS} * interval '1 millisecond')
           and r.lease_until <= clock_timestamp()
           and not exists (select 1 from authorizations a where a.tenant = r.tenant and a.connection_id = r.connection_id
             and (a.state in ('begun', 'opened', 'choosing') and a.ends_at > $1
               or a.state in ('asking', 'answered') or a.state = 'failed' and a.code = '${GIVEN_UP}' and a.changed_at > $2))
         order by r.lease_until limit ${AT_ONCE} for update of r skip locked) due
       where r.tenant = due.tenant and r.connection_id = due.connection_id and r.id = due.id
       returning r.tenant, r.connection_id as id, r.id as refresh, due.name, due.active, due.unread, r.answer, r.failures`,
      [new Date(clock.now()), new Date(clock.now() - GIVEN_UP_FOR_MS)],
    )
    return rows
  }

  async function leaveOne({ tenant, id }: Due): Promise<void> {
    await storage.transaction(async (client) => {
      const { rows } = await client.query(
        `select 1 from connections where tenant = $1 and id = $2 and state = 'active' for update`,
        [tenant, id],
      )
      if (rows.length > 0) await leave(client, { tenant, id })
    })
  }

  /** As where its connector is not configured any more. */
  async function giveUpUnread(due: Due): Promise<void> {
    const reason =
      "An answer of the token endpoint could not be read for three days after its connection was removed. Where it held tokens, they are as good as before: take Trestle's access back at the provider, in the settings of the account."
    await storage.transaction(async (client) => {
      if (await drop(client, due)) await note(client, due, { outcome: 'left_alone', reason })
    })
  }

  async function revokeOne(due: Due): Promise<void> {
    const { tenant, id, refresh, failures } = due
    const late = JSON.parse(
      (await open(key, placeOfAnswer(tenant, id, refresh), due.answer)).toString(),
    ) as ToRevoke
    const outcome = hasEnded(late)
      ? { outcome: 'token_ended', reason: 'The access token has ended by itself.', isLast: true }
      : outcomeOf(await askToRevoke(send, await byPresentClient(due, late), due), failures + 1)
    await storage.transaction(async (client) => {
      const isOurs = await (outcome.isLast ? drop(client, due) : postpone(client, due))
      // What goes on failing is on record at first, and when it is given up.
      if (isOurs && (outcome.isLast || failures === 0)) await note(client, due, outcome)
    })
  }

  function hasEnded({ endsAt }: ToRevoke): boolean {
    return endsAt !== undefined && endsAt <= clock.now()
  }

  /** The client's secret may have been rotated since then. */
  async function byPresentClient(connection: ConnectionRef, late: ToRevoke): Promise<ToRevoke> {
    const secrets = await options.readSecrets(connection)
    const clientSecret = await secrets?.value('clientSecret')
    const isSame = clientSecret !== undefined && (await secrets?.value('clientId')) === late.clientId
    return isSame ? { ...late, clientSecret } : late
  }

  function note(
    client: Queryable,
    { tenant, id, name }: ConnectionRef & { readonly name: string },
    { outcome, reason }: Pick<Outcome, 'outcome' | 'reason'>,
  ): Promise<void> {
    return record(client, {
      tenant,
      at: clock.now(),
      actor: 'system',
      action: 'grant.revoked',
      target: id,
      outcome,
      connectionId: id,
      detail: {
        name,
        tokens: 'those of a refresh that ended after its grant was taken back',
        ...(reason === undefined ? {} : { reason }),
      },
    })
  }

  async function drop(client: Queryable, { tenant, id, refresh, unread }: Due): Promise<boolean> {
    const { rowCount } = await client.query(
      'delete from grant_refreshes where tenant = $1 and connection_id = $2 and id = $3 and state = $4',
      [tenant, id, refresh, unread ? 'answered' : 'revoking'],
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

  return { noteTakenBack, isLate, keep, leave, revoke }
}

function outcomeOf(revocation: Extract<Revocation, { as: 'revoked' | 'failed' }>, tries: number): Outcome {
  if (revocation.as === 'revoked') return { outcome: 'succeeded', isLast: true }
  const isLast = tries >= MOST_TRIES
  const next = isLast
    ? `It was asked ${tries} times, for three days, and is not asked again: take Trestle's access back at the provider, in the settings of the account.`
    : 'It is asked again.'
  return { outcome: revocation.code, reason: `${revocation.reason} ${next}`, isLast }
}
