import { newId, type Clock } from '../base/index.ts'
import {
  authFor,
  completeSchemes,
  grantFieldOf,
  isAuthorizedByPerson,
  schemesOf,
  secretFieldsOf,
  type AuthScheme,
  type ConnectionState,
  type OAuth2Scheme,
} from '../define/index.ts'
import type { Queryable } from '../db/index.ts'
import type { Actor, LedgerAction, LedgerEntry } from '../ledger/index.ts'
import type { Overtake } from './authorizing/overtake.ts'
import { formerOf, kindOf } from './formers.ts'
import { lasting, type Grant, type GrantStore } from './grants.ts'
import type { LateTokens } from './lateTokens.ts'
import {
  canVerify,
  fieldsOfOtherSchemes,
  isWebhookSecretField,
  webhookSecretField,
  type ConnectionPlan,
} from './plan.ts'
import { GRANT_FIELD, type SecretStore } from './secrets.ts'
import { leaveReturn } from './returns.ts'
import type { ConnectionRef, RecordEntry } from './storage.ts'

/** A plan that is to be written, and by whom. */
export interface Application {
  readonly tenant: string
  readonly plan: ConnectionPlan
  readonly by: 'configuration' | 'operator'
  readonly actor: Actor
}

export interface AppliedPlan {
  readonly id: string
  readonly change: 'added' | 'changed' | 'unchanged'
}

export interface PlanWriterOptions {
  readonly secrets: Pick<SecretStore, 'put' | 'remove' | 'isAmong'>
  readonly grants: Pick<GrantStore, 'plant'>
  /** Ends the authorizations that were agreed to before. */
  readonly overtake: Overtake
  readonly late: Pick<LateTokens, 'leave'>
  readonly clock: Clock
  readonly record: RecordEntry
}

interface WrittenConnection {
  readonly id: string
  readonly added: boolean
  readonly changed: boolean
  /** The configuration has it and an operator asked: only secrets may change. */
  readonly fixed: boolean
}

/** The token that the configuration had last. It is planted again only when the configuration changes. */
const declaredField = (field: string): string => `${field}.declared`

/** Secrets that take the place of a connection's, whoever gives them: a configuration, an operator, an authorization. */
export interface GivenSecrets {
  readonly connection: ConnectionRef
  readonly by: Application['by']
  readonly actor: Actor
  readonly auth: AuthScheme
  readonly secrets: ReadonlyMap<string, string>
  readonly webhookSecrets: readonly string[] | undefined
  /** The grant that an authorization gave, whole. Left out: it is made of the secrets. */
  readonly grant?: Grant
}

export interface PlanWriter {
  /** Brings the rows of one connection to a plan, within the caller's transaction. Writes only what differs. */
  applyPlan(this: void, client: Queryable, application: Application): Promise<AppliedPlan>
  /**
   * Seals secrets of a connection and brings its state to them: every way in which a grant is replaced by a person.
   * The caller's transaction holds the connection's row. Gives what was written, and the state where it changed.
   */
  applySecrets(
    this: void,
    client: Queryable,
    given: GivenSecrets,
  ): Promise<{ readonly sealed: readonly string[]; readonly state: ConnectionState | undefined }>
}

export function createPlanWriter(options: PlanWriterOptions): PlanWriter {
  const { secrets, record } = options

  async function applyPlan(client: Queryable, application: Application): Promise<AppliedPlan> {
    const { tenant, plan } = application
    const { id, added, changed, fixed } = await writeConnection(client, application)
    const connection = { tenant, id }
    const { by, actor } = application
    const { auth, webhookSecrets } = plan
    const given = { connection, by, actor, auth, webhookSecrets, secrets: plan.secrets }
    const { sealed, state } = await applySecrets(client, given)
    const moved = await writeEndpoint(client, connection, plan, !fixed)
    if (added || changed || moved)
      await record(client, entryOf(application, id, added ? 'connection.added' : 'connection.changed'))
    if (state === 'active' && !added)
      await record(client, entryOf(application, id, 'connection.reauthorized'))
    const differed = changed || moved || state !== undefined || sealed.length > 0
    return { id, change: added ? 'added' : differed ? 'changed' : 'unchanged' }
  }

  async function applySecrets(
    client: Queryable,
    given: GivenSecrets,
  ): ReturnType<PlanWriter['applySecrets']> {
    const sealed = await writeSecrets(client, given)
    return { sealed, state: await writeState(client, given, sealed) }
  }

  function entryOf({ tenant, plan, actor }: Application, id: string, action: LedgerAction): LedgerEntry {
    const { name, connector, baseUrl, tokenUrl, settings } = plan
    return {
      tenant,
      at: options.clock.now(),
      actor,
      action,
      target: id,
      outcome: 'succeeded',
      connectionId: id,
      detail: { name, connector, baseUrl, settings, ...(tokenUrl === undefined ? {} : { tokenUrl }) },
    }
  }

  /** Locks the connection's row, made where it was not there, and brings it to the plan. */
  async function writeConnection(
    client: Queryable,
    { tenant, plan, by }: Application,
  ): Promise<WrittenConnection> {
    const planned = [
      plan.baseUrl,
      plan.tokenUrl ?? null,
      settingsText(plan),
      plan.allowPrivateNetwork,
      by === 'configuration',
    ]
    const inserted = await client.query<{ id: string }>(
      `insert into connections (tenant, id, name, connector, base_url, token_url, settings, allow_private, declared)
       values ($1, $2, $3, $4, $5, $6, $7, $8, $9) on conflict (tenant, name) do nothing returning id`,
      [tenant, newId('con'), plan.name, plan.connector, ...planned],
    )
    if (inserted.rows[0]) return { id: inserted.rows[0].id, added: true, changed: true, fixed: false }
    const { rows } = await client.query<{
      id: string
      state: string
      base_url: string
      token_url: string | null
      settings: string
      allow_private: boolean
      declared: boolean
    }>(
      `select id, state, base_url, token_url, settings, allow_private, declared from connections
       where tenant = $1 and name = $2 for update`,
      [tenant, plan.name],
    )
    const now = rows[0]!
    const revoked = now.state === 'revoked'
    // What the configuration declares is not overruled from the command line.
    if (by === 'operator' && now.declared && !revoked)
      return { id: now.id, added: false, changed: false, fixed: true }
    const same =
      !revoked &&
      [now.base_url, now.token_url, now.settings, now.allow_private, now.declared].every(
        (value, i) => value === planned[i],
      )
    if (!same)
      await client.query(
        `update connections set base_url = $3, token_url = $4, settings = $5, allow_private = $6, declared = $7,
           updated_at = now(),
           state = case when state = 'revoked' then 'active' else state end
         where tenant = $1 and id = $2`,
        [tenant, now.id, ...planned],
      )
    return { id: now.id, added: revoked, changed: !same, fixed: false }
  }

  /** Seals what differs, drops what has no use any more; gives the fields that were written. */
  async function writeSecrets(client: Queryable, given: GivenSecrets): Promise<readonly string[]> {
    const { connection, by, actor, auth, webhookSecrets } = given
    const written: string[] = []
    const held = await fieldsOf(client, connection)
    const put = async (field: string, value: string): Promise<void> => {
      // What was rotated out does not come back by a configuration that has it still.
      const formers = held.filter((one) => formerOf(one)?.kind === kindOf(field))
      if (by === 'configuration' && (await secrets.isAmong(client, connection, formers, value))) return
      if (await secrets.put(client, { connection, field, value, actor })) written.push(field)
    }
    const grantFields = grantFieldsOf(auth)
    for (const [field, value] of given.secrets)
      if (!grantFields.includes(field) || by === 'operator') await put(field, value)
      // A grant that a person gave since then is not overwritten by the stale token of the configuration.
      else if (await secrets.put(client, { connection, field: declaredField(field), value, actor }))
        await put(field, value)
    if (webhookSecrets !== undefined) {
      for (const [index, value] of webhookSecrets.entries()) await put(webhookSecretField(index), value)
      const kept = new Set(webhookSecrets.map((_, index) => webhookSecretField(index)))
      const surplus = (await fieldsOf(client, connection)).filter(
        (field) => isWebhookSecretField(field) && !kept.has(field),
      )
      if (surplus.length > 0) await secrets.remove(client, connection, surplus, actor)
    }
    await dropOtherSchemes(client, given)
    const scheme = authFor(auth, await fieldsOf(client, connection))
    const begins =
      scheme.kind === 'oauth2' && grantBeginsWith(scheme).some((field) => written.includes(field))
    if (given.grant !== undefined || begins) await plantGrant(client, given)
    return written
  }

  /**
   * Secrets that are complete for one way to authorize take the place of those for another: HubSpot's private app
   * instead of OAuth. Otherwise those would go on being used.
   */
  async function dropOtherSchemes(
    client: Queryable,
    { connection, auth, secrets: own, actor, grant }: GivenSecrets,
  ): Promise<void> {
    // An authorization brings its tokens alone; the client that it was given to is there already.
    const [used] = grant ? [schemesOf(auth).find(isAuthorizedByPerson)] : completeSchemes(auth, own.keys())
    if (used === undefined) return
    const others = fieldsOfOtherSchemes(auth, used).filter((field) => !own.has(field))
    const hadGrant = used.kind !== 'oauth2' && auth.kind === 'oauth2'
    if (hadGrant) others.push(GRANT_FIELD, ...grantFieldsOf(auth).map(declaredField))
    if (others.length > 0) await secrets.remove(client, connection, others, actor)
  }

  /** A refresh token that was not seen before is a new authorization: the grant begins again with it. */
  async function plantGrant(
    client: Queryable,
    { connection, secrets: own, grant }: GivenSecrets,
  ): Promise<void> {
    const refreshToken = own.get('refreshToken')
    const accessToken = own.get('accessToken')
    const expiresAt = own.get('expiresAt')
    // An authorization that brings a grant has looked itself which of two was agreed to later.
    if (grant === undefined) await options.overtake(client, connection)
    await options.late.leave(client, connection)
    await options.grants.plant(
      client,
      connection,
      grant ??
        lasting({
          obtainedAt: options.clock.now(),
          ...(refreshToken === undefined ? {} : { refreshToken }),
          ...(accessToken === undefined ? {} : { accessToken }),
          ...(expiresAt === undefined ? {} : { expiresAt: Date.parse(expiresAt) }),
        }),
    )
  }

  /**
   * New secrets may mend what was refused; an OAuth connection without a grant waits for its authorization. Gives
   * the state where it changed.
   */
  async function writeState(
    client: Queryable,
    { connection, auth }: GivenSecrets,
    sealed: readonly string[],
  ): Promise<ConnectionState | undefined> {
    const fields = await fieldsOf(client, connection)
    const scheme = authFor(auth, fields)
    const grantField = scheme.kind === 'oauth2' ? grantFieldOf(scheme) : undefined
    const authorized = grantField === undefined || fields.includes(grantField)
    const credentials = sealed.filter((field) => !isWebhookSecretField(field))
    if (authorized && credentials.length === 0) return undefined
    if (authorized) await leaveReturn(client, connection, options.clock)
    const state: ConnectionState = authorized ? 'active' : 'needs_reauthorization'
    const { rows } = await client.query(
      `update connections set state = $3, updated_at = now()
       where tenant = $1 and id = $2 and state <> $3 returning id`,
      [connection.tenant, connection.id, state],
    )
    return rows.length > 0 ? state : undefined
  }

  /** Gives the connection its endpoint, moves it, or leaves all as it is; tells whether something changed. */
  async function writeEndpoint(
    client: Queryable,
    connection: ConnectionRef,
    plan: ConnectionPlan,
    mayMove: boolean,
  ): Promise<boolean> {
    const { tenant, id } = connection
    const found = await client.query<{ id: string; path: string }>(
      'select id, path from endpoints where tenant = $1 and connection_id = $2',
      [tenant, id],
    )
    const current = found.rows[0]
    if (!canVerify(plan, await fieldsOf(client, connection))) {
      if (current)
        await client.query('delete from endpoints where tenant = $1 and id = $2', [tenant, current.id])
      return current !== undefined
    }
    if (current !== undefined && (current.path === plan.endpointPath || !mayMove)) return false
    if (current)
      await client.query('update endpoints set path = $3 where tenant = $1 and id = $2', [
        tenant,
        current.id,
        plan.endpointPath,
      ])
    else
      await client.query('insert into endpoints (tenant, id, path, connection_id) values ($1, $2, $3, $4)', [
        tenant,
        newId('ep'),
        plan.endpointPath,
        id,
      ])
    return true
  }

  return { applyPlan, applySecrets }
}

/** Secret fields of the scheme's grants, one for each of its ways by which a person authorizes. */
function grantFieldsOf(auth: AuthScheme): readonly string[] {
  return schemesOf(auth).flatMap((scheme) => (scheme.kind === 'oauth2' ? (grantFieldOf(scheme) ?? []) : []))
}

/** The secrets that a grant begins with: new ones are a new grant. */
function grantBeginsWith(scheme: OAuth2Scheme): readonly string[] {
  const field = grantFieldOf(scheme)
  return field === undefined ? secretFieldsOf(scheme) : [field]
}

/** Settings as they are stored: in the order of their names, so that equal ones are equal text. */
function settingsText(plan: ConnectionPlan): string {
  return JSON.stringify(
    Object.fromEntries(Object.entries(plan.settings).sort(([a], [b]) => (a < b ? -1 : 1))),
  )
}

async function fieldsOf(client: Queryable, connection: ConnectionRef): Promise<readonly string[]> {
  const { rows } = await client.query<{ field: string }>(
    'select field from secrets where tenant = $1 and connection_id = $2',
    [connection.tenant, connection.id],
  )
  return rows.map((row) => row.field)
}
