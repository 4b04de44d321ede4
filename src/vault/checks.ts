import { DAY, MINUTE, SECOND, type Clock, type Random } from '../base/index.ts'
import { authFor, grantFieldOf, SCHEDULE_SOURCE, type AuthScheme } from '../define/index.ts'
import type { Queryable } from '../db/index.ts'
import type { Refusal } from './authorize.ts'
import { leaveReturn } from './returns.ts'
import { GRANT_FIELD } from './secrets.ts'
import { keyOf, type ConnectionRef, type RecordEntry, type VaultStorage } from './storage.ts'

/** A connection that nobody called over for so long is checked. */
export const IDLE_CHECK_AFTER_MS = DAY
/** A credential that was refused is tried again this often, whatever its connection's state is. */
const REFUSED_AGAIN_MS = 5 * MINUTE
/** A refusal that only one check has met is confirmed, or not, after this time. */
const CONFIRMED_AFTER_MS = 10 * SECOND
/** A check that told nothing of the credential, since the provider was away or held back, is made again after this time. */
const AGAIN_MS = 15 * MINUTE
/** A check of which nobody tells the outcome in this time is taken as dead with its node. Longer than a call takes. */
const CHECK_LIMIT_MS = 90 * SECOND
/** A refusal is noted again after this time; meanwhile it is known. */
const NOTED_FOR_MS = 15 * SECOND
/** After this time without a refusal it is over. */
export const REFUSAL_LASTS_MS = 15 * MINUTE
const USES_EVERY_MS = MINUTE
/** Connections in memory. */
const MOST_NOTED = 10_000

/** What a check says of the credential, beside what it came to. */
export interface CheckResult {
  /** `unknown`: nothing was sent, or what came says nothing of it. */
  readonly credential: 'accepted' | 'refused' | 'unknown'
  /** Such as `succeeded`. */
  readonly outcome: string
  readonly code: string | undefined
  readonly reason: string | undefined
  /** Where it asked. */
  readonly url?: string | undefined
}

/** A check that this node is to make. */
export interface DueCheck extends ConnectionRef {
  /** Of the secrets as they are: what the check says is of these. */
  readonly secrets: string
}

export interface CheckStore {
  /** Notes a provider's refusal, so that the connection is checked at once. Never rejects. */
  noteRefusal(this: void, refusal: Refusal): Promise<void>
  /**
   * A call over the connection was answered at this URL, so it need not be checked. Written now and then, for all at
   * once, with the end of the server's certificate.
   */
  noteUse(connection: ConnectionRef, url?: string): void
  /** Writes at once what was noted of uses. */
  saveUses(this: void): Promise<void>
  /** Claims checks that are due; every node may ask, and one gets each. */
  claimChecks(
    tenant: string,
    by: { readonly checker: string; readonly most: number },
  ): Promise<readonly DueCheck[]>
  /** Writes down what a claimed check came to, and what follows for the connection. */
  settleCheck(due: DueCheck, checker: string, result: CheckResult): Promise<void>
}

export interface CheckStoreOptions {
  readonly storage: VaultStorage
  readonly clock: Clock
  readonly random: Random
  readonly record: RecordEntry
  readonly authOf: (connector: string) => AuthScheme | undefined
  /** Default: {@link IDLE_CHECK_AFTER_MS}; 0: idle connections are not checked, and refused ones are. */
  readonly idleMs?: number | undefined
  /** The certificate that the server at a URL showed last to this process. */
  readonly certificateOf?: CertificateOf | undefined
  readonly onStateChanged: (connection: ConnectionRef) => void
}

/** The certificate that the server at this URL showed last to this process; `undefined`: none was seen. */
export type CertificateOf = (url: string) => { readonly from: Date; readonly endsAt: Date } | undefined

/** When each connection is checked, and what came of it: the table `connection_checks`. */
export function createCheckStore(options: CheckStoreOptions): CheckStore {
  const { storage, clock, random, record, idleMs = IDLE_CHECK_AFTER_MS } = options
  const noted = new Map<string, number>()
  let uses = new Map<string, ConnectionRef & { readonly at: number; readonly url: string | undefined }>()
  let cancel: (() => void) | undefined
  let saving: Promise<void> = Promise.resolve()
  const certificateOf = (url: string | undefined): ReturnType<CertificateOf> =>
    url === undefined ? undefined : options.certificateOf?.(url)

  async function noteRefusal({ connection, version, reason, formerUsed }: Refusal): Promise<void> {
    const key = `${keyOf(connection)} ${version} ${formerUsed}`
    const before = noted.get(key)
    if (before !== undefined && clock.monotonic() - before < NOTED_FOR_MS) return
    if (noted.size >= MOST_NOTED) noted.clear()
    noted.set(key, clock.monotonic())
    const now = new Date(clock.now())
    await storage.reader
      .query(
        `insert into connection_checks as k (tenant, connection_id, due_at, refused_since, refused_at, refused_version, refused_reason, former_used_at)
         values ($1, $2, $3, $3, $3, $4, $5, case when $6 then $3::timestamptz end)
         on conflict (tenant, connection_id) do update set
           refused_since = case when k.refused_version = $4 and k.refused_at > $7 then coalesce(k.refused_since, $3) else $3 end,
           due_at = case when k.refused_version = $4 and k.refused_since is not null and k.checked_at > k.refused_since
             then least(k.due_at, greatest(k.checked_at + interval '${REFUSED_AGAIN_MS} milliseconds', $3))
             else least(k.due_at, $3) end,
           refused_at = $3, refused_version = $4, refused_reason = $5,
           former_used_at = case when $6 then $3::timestamptz when k.refused_version = $4 then k.former_used_at end`,
        [
          connection.tenant,
          connection.id,
          now,
          version,
          reason,
          formerUsed,
          new Date(now.getTime() - REFUSAL_LASTS_MS),
        ],
      )
      // The call itself says what happened to it; the next refusal is noted.
      .catch(() => noted.delete(key))
  }

  function noteUse({ tenant, id }: ConnectionRef, url?: string): void {
    uses.set(keyOf({ tenant, id }), { tenant, id, at: clock.now(), url })
    cancel ??= clock.after(USES_EVERY_MS, () => void saveUses().catch(() => {}))
  }

  /** One write after another, so that whoever waits for this one waits for all before it. */
  function saveUses(): Promise<void> {
    saving = saving.catch(() => {}).then(writeUses)
    return saving
  }

  async function writeUses(): Promise<void> {
    cancel?.()
    cancel = undefined
    if (uses.size === 0) return
    const all = [...uses.values()]
    uses = new Map()
    const certificates = all.map(({ url }) => certificateOf(url))
    await storage.reader.query(
      `insert into connection_checks as k (tenant, connection_id, due_at, used_at, certificate_from, certificate_ends_at)
       select u.tenant, u.id, u.at + $4 * interval '1 millisecond', u.at, u.certified, u.ends
       from (select tenant, id, to_timestamp(at / 1000) as at, certified, ends
         from unnest($1::text[], $2::text[], $3::float8[], $5::timestamptz[], $6::timestamptz[]) as given (tenant, id, at, certified, ends) order by tenant, id) u
       on conflict (tenant, connection_id) do update set used_at = greatest(k.used_at, excluded.used_at),
         certificate_from = coalesce(excluded.certificate_from, k.certificate_from),
         certificate_ends_at = coalesce(excluded.certificate_ends_at, k.certificate_ends_at),
         due_at = case when k.refused_since is null then greatest(k.due_at, excluded.due_at) else k.due_at end`,
      [
        all.map((use) => use.tenant),
        all.map((use) => use.id),
        all.map((use) => use.at),
        idleMs,
        certificates.map((one) => one?.from ?? null),
        certificates.map((one) => one?.endsAt ?? null),
      ],
    )
  }

  async function claimChecks(
    tenant: string,
    { checker, most }: { readonly checker: string; readonly most: number },
  ): Promise<readonly DueCheck[]> {
    const now = clock.now()
    // Connections that have no row yet get one, spread over the time so that those made together are not checked together.
    await storage.reader.query(
      `insert into connection_checks (tenant, connection_id, due_at)
       select c.tenant, c.id, $2::timestamptz + (0.5 + random() / 2) * $3 * interval '1 millisecond' from connections c
       where c.tenant = $1 and c.state <> 'revoked' and c.connector <> '${SCHEDULE_SOURCE}'
         and not exists (select 1 from connection_checks k where k.tenant = c.tenant and k.connection_id = c.id)
       on conflict do nothing`,
      [tenant, new Date(now), idleMs],
    )
    const { rows } = await storage.reader.query<{ connection_id: string; secrets: string }>(
      `update connection_checks k set checker = $3, checking_until = $4
       from (select k.tenant, k.connection_id from connection_checks k
           join connections c on c.tenant = k.tenant and c.id = k.connection_id and c.state <> 'revoked'
         where k.tenant = $1 and k.due_at <= $2 and (k.checking_until is null or k.checking_until <= $2)
           and ($6 or k.refused_since is not null or c.state = 'needs_reauthorization')
           -- A person holds it back, or it is away and probed already.
           and not exists (select 1 from breakers b where b.tenant = k.tenant and b.connection_id = k.connection_id and b.op_group = '')
         order by k.due_at limit $5 for update of k skip locked) due
       where k.tenant = due.tenant and k.connection_id = due.connection_id
       returning k.connection_id, (${SECRETS_NOW}) as secrets`,
      [tenant, new Date(now), checker, new Date(now + CHECK_LIMIT_MS), most, idleMs > 0],
    )
    return rows.map((row) => ({ tenant, id: row.connection_id, secrets: row.secrets }))
  }

  async function settleCheck(due: DueCheck, checker: string, result: CheckResult): Promise<void> {
    const changed = await storage.transaction((client) => settle(client, due, checker, result))
    if (changed) options.onStateChanged(due)
  }

  /** Under the lock of the connection's row. Gives whether its state changed. */
  async function settle(
    client: Queryable,
    due: DueCheck,
    checker: string,
    result: CheckResult,
  ): Promise<boolean> {
    const { tenant, id } = due
    const { rows } = await client.query<{ name: string; connector: string; state: string }>(
      'select name, connector, state from connections where tenant = $1 and id = $2 for update',
      [tenant, id],
    )
    const { rows: held } = await client.query<Held>(
      `select (${SECRETS_NOW}) as secrets, (${GRANT_NOW}) as grant, (${KEYS_NOW}) as keys,
         refused_since <= checking_until - interval '${CHECK_LIMIT_MS} milliseconds' and (accepted_at is null or accepted_at < refused_at) as refused, refused_version,
         refused_since is not null and (checked_at is null or checked_at < refused_since) as in_doubt,
         array(select s.field from secrets s where s.tenant = k.tenant and s.connection_id = k.connection_id) as fields, exists (select 1 from secrets s where s.tenant = k.tenant and s.connection_id = k.connection_id
           and s.field like 'former.%' and s.field not like '%.webhookSecret' and s.expires_at > $4) as former
       from connection_checks k where tenant = $1 and connection_id = $2 and checker = $3 for update`,
      [tenant, id, checker, new Date(clock.now())],
    )
    const [connection] = rows
    const [own] = held
    // Another node has the check by now, or the connection is gone.
    if (connection === undefined || own === undefined) return false
    // A connector of OAuth may have other ways, too: what counts is the one that this connection has secrets for.
    const auth = options.authOf(connection.connector)
    const scheme = auth && authFor(auth, own.fields)
    const renews = scheme?.kind === 'oauth2' && grantFieldOf(scheme) !== 'accessToken'
    const version = scheme?.kind === 'oauth2' ? own.grant : own.keys
    const isOfThese = own.secrets === due.secrets
    const credential = isOfThese ? result.credential : 'unknown'
    const wasRefused = own.refused && own.refused_version === version
    // One 401 may be the provider's own fault: what nobody has met before is asked again before it is believed.
    if (credential === 'refused' && connection.state === 'active' && !renews && !wasRefused) {
      await noteFirst(client, due, version, result)
      return false
    }
    await write(client, due, { ...result, credential }, isOfThese)
    const at = { tenant, at: clock.now(), actor: 'system', target: id, connectionId: id } as const
    if (credential === 'refused' && connection.state === 'active' && !renews && !own.former) {
      await setState(client, due, 'needs_reauthorization')
      await record(client, {
        ...at,
        action: 'credential.refused',
        outcome: result.code ?? 'credential_refused',
        detail: { name: connection.name, reason: result.reason ?? '', by: 'its check' },
      })
      return true
    }
    if (credential !== 'accepted' || renews) return false
    // Those who met the refusal need not wait until they look again; it was the provider's fault.
    if (connection.state === 'active' && own.in_doubt) await leaveReturn(client, due, clock)
    // A grant that a person took back has another version since.
    if (connection.state !== 'needs_reauthorization' || (scheme?.kind === 'oauth2' && !wasRefused))
      return false
    await setState(client, due, 'active')
    await leaveReturn(client, due, clock)
    await record(client, {
      ...at,
      action: 'connection.reauthorized',
      outcome: 'succeeded',
      detail: { name: connection.name, by: 'its check: the provider accepts the same credential again' },
    })
    return true
  }

  /** As if a call had met it: the next check, in a moment, confirms it or not. */
  async function noteFirst(
    client: Queryable,
    { tenant, id }: ConnectionRef,
    version: string | null,
    { reason }: CheckResult,
  ): Promise<void> {
    const now = clock.now()
    await client.query(
      `update connection_checks set checker = null, checking_until = null, due_at = $3, refused_since = $4, refused_at = $4,
         refused_version = $5, refused_reason = $6 where tenant = $1 and connection_id = $2`,
      [tenant, id, new Date(now + CONFIRMED_AFTER_MS), new Date(now), version, reason ?? null],
    )
  }

  async function write(
    client: Queryable,
    { tenant, id }: ConnectionRef,
    { credential, outcome, code, reason, url }: CheckResult,
    isOfThese: boolean,
  ): Promise<void> {
    const now = clock.now()
    // Scattered, so that what was checked together is not checked together again.
    const idle = (idleMs > 0 ? idleMs : IDLE_CHECK_AFTER_MS) * (0.9 + random.next() / 5)
    const certificate = certificateOf(url)
    const next = !isOfThese ? 0 : { accepted: idle, refused: REFUSED_AGAIN_MS, unknown: AGAIN_MS }[credential]
    await client.query(
      `update connection_checks set checker = null, checking_until = null, due_at = $3, checked_at = $4, outcome = $5, code = $6, reason = $7,
         accepted_at = case when $8 = 'accepted' then $4 else accepted_at end,
         refused_since = case when $8 = 'refused' then coalesce(refused_since, $4) when ${IS_OVER} then null else refused_since end,
         refused_at = case when $8 = 'refused' then $4 else refused_at end,
         refused_reason = case when $8 = 'refused' then $7 else refused_reason end,
         former_used_at = case when ${IS_OVER} then null else former_used_at end,
         certificate_from = coalesce($9, certificate_from), certificate_ends_at = coalesce($10, certificate_ends_at)
       where tenant = $1 and connection_id = $2`,
      [
        tenant,
        id,
        new Date(now + next),
        new Date(now),
        outcome,
        code ?? null,
        reason ?? null,
        credential,
        certificate?.from ?? null,
        certificate?.endsAt ?? null,
      ],
    )
  }

  async function setState(client: Queryable, { tenant, id }: ConnectionRef, state: string): Promise<void> {
    await client.query(
      'update connections set state = $3, updated_at = now() where tenant = $1 and id = $2',
      [tenant, id, state],
    )
  }

  return { noteRefusal, noteUse, saveUses, claimChecks, settleCheck }
}

/** A check was accepted ($8 at $4), and nothing was refused for a while. */
const IS_OVER = `$8 = 'accepted' and (refused_at is null or refused_at <= $4::timestamptz - interval '${REFUSAL_LASTS_MS} milliseconds')`

/** What the vault holds of a connection, and what was seen of it before this check. */
interface Held {
  readonly secrets: string
  /** The version of its OAuth grant, where it has one. */
  readonly grant: string | null
  /** The version of its secrets, as refusals name it. */
  readonly keys: string
  /** By a call or a check, before this check was sent; and no check was accepted since. */
  readonly refused: boolean | null
  readonly refused_version: string | null
  /** A refusal that no check has looked at yet. */
  readonly in_doubt: boolean
  readonly fields: readonly string[]
  /** One that was rotated out counts still. */
  readonly former: boolean
}

/** The version of {@link ConnectionSecrets}, as secrets.ts makes it. */
const KEYS_NOW = `select left(translate(encode(sha256(coalesce(string_agg(s.fingerprint, ''::bytea order by s.field), '')), 'base64'), '+/', '-_'), 16)
  from secrets s where s.tenant = k.tenant and s.connection_id = k.connection_id and s.field <> '${GRANT_FIELD}'`
const GRANT_NOW = `select s.version::text from secrets s
  where s.tenant = k.tenant and s.connection_id = k.connection_id and s.field = '${GRANT_FIELD}'`
/** Tells the connection's secrets from other ones, without opening them. A grant changes by itself and is not among them; a token that a person gave or got is. */
const SECRETS_NOW = `select coalesce(string_agg(s.field || ' ' || s.version, ',' order by s.field), '') from secrets s
  where s.tenant = k.tenant and s.connection_id = k.connection_id and s.field <> '${GRANT_FIELD}'`
