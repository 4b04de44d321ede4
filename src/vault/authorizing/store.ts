import { createHash } from 'node:crypto'
import { parseJson, type Clock, type Random } from '../../base/index.ts'
import type { Queryable } from '../../db/index.ts'
import type { Actor } from '../../ledger/index.ts'
import type { MasterKey } from '../masterKey.ts'
import type { KeptAnswer } from '../refreshes.ts'
import { open, seal } from '../seal.ts'
import { sealingKey } from '../sealingKey.ts'

/**
 * - `begun`: there is an address for a browser; `opened`: a browser was there and is at the provider.
 * - `asking`: the callback came, its code is used; `answered`: the token endpoint's answer is sealed and committed.
 * - `choosing`: a person says which account. `granted`, `failed`, `cancelled`: it is over.
 */
export type AuthorizationState =
  | 'begun'
  | 'opened'
  | 'asking'
  | 'answered'
  | 'choosing'
  | 'granted'
  | 'failed'
  | 'cancelled'

/** An account to choose. */
export interface AccountChoice {
  readonly id: string
  readonly name: string
}

export interface AuthorizationRow {
  readonly tenant: string
  readonly id: string
  readonly connectionId: string
  readonly connector: string
  readonly state: AuthorizationState
  /** SHA-256 of the cookie of the browser that began. */
  readonly browser: Buffer | undefined
  readonly choices: readonly AccountChoice[]
  /** The account that was asked for, or chosen. */
  readonly wanted: string | undefined
  readonly code: string | undefined
  readonly reason: string | undefined
  readonly actor: Actor
  readonly endsAt: Date
}

/** What opens the exchange. Sealed while it is under way. */
export interface AuthorizationSecret {
  readonly state: string
  readonly codeVerifier: string
  readonly redirectUri: string
  readonly secure: boolean
  readonly cookiePath: string
}

/** What came back, sealed before anybody reads it. */
export interface AuthorizationAnswer {
  readonly kept: KeptAnswer
  /** What was asked with, so that words that repeat it are not shown. */
  readonly code?: string
  /** Parameters of the callback that say which account it is. */
  readonly parameters: Readonly<Record<string, string>>
}

export interface AuthorizationStore {
  insert(
    client: Queryable,
    begun: Pick<AuthorizationRow, 'tenant' | 'id' | 'connectionId' | 'connector' | 'actor' | 'wanted'> & {
      readonly ticket: Buffer
      readonly secret: AuthorizationSecret
      readonly endsAt: number
    },
  ): Promise<void>
  read(client: Queryable, tenant: string, id: string): Promise<AuthorizationRow | undefined>
  /** For a browser, which does not know the tenant. */
  findById(client: Queryable, id: string): Promise<AuthorizationRow | undefined>
  findByTicket(client: Queryable, ticket: Buffer): Promise<AuthorizationRow | undefined>
  findByState(client: Queryable, state: Buffer): Promise<AuthorizationRow | undefined>
  /** Binds it to a browser; `false` if another one was faster. */
  bind(client: Queryable, row: AuthorizationRow, browser: Buffer): Promise<boolean>
  /**
   * Moves it on, if it is in one of `from`; `false` if it is not any more. Of those that failed only one that was given
   * up is moved. The answer of one that is granted is in the grant, and goes.
   */
  move(
    client: Queryable,
    row: AuthorizationRow,
    from: readonly AuthorizationState[],
    to: Moved,
  ): Promise<boolean>
  /** Whether another authorization of the connection was granted whose tokens were given later. */
  isOvertaken(client: Queryable, row: AuthorizationRow): Promise<boolean>
  secretOf(client: Queryable, row: AuthorizationRow): Promise<AuthorizationSecret>
  /** In the transaction that commits it. */
  sealAnswer(client: Queryable, row: AuthorizationRow, answer: AuthorizationAnswer): Promise<Buffer>
  answerOf(client: Queryable, row: AuthorizationRow): Promise<AuthorizationAnswer | undefined>
  /** Those that lost their node, and those whose account is still to be found out. */
  listLeft(
    client: Queryable,
    since: { readonly answered: number; readonly asking: number },
  ): Promise<readonly AuthorizationRow[]>
  /** Drops what ended long ago. */
  sweep(client: Queryable, tenant: string, before: number): Promise<void>
}

export interface Moved {
  readonly state: AuthorizationState
  readonly code?: string
  readonly reason?: string
  readonly answer?: Buffer
  /** When it came, in ms since 1970: of two grants the later one counts, however late it is written. */
  readonly answeredAt?: number
  readonly choices?: readonly AccountChoice[]
  readonly wanted?: string
  readonly endsAt?: number
}

/** The code of one whose node died while it asked, as far as others can tell. */
export const GIVEN_UP = 'token_answer_lost'

interface StoredRow {
  readonly tenant: string
  readonly id: string
  readonly connection_id: string
  readonly connector: string
  readonly state: AuthorizationState
  readonly browser: Buffer | null
  readonly choices: string | null
  readonly wanted: string | null
  readonly code: string | null
  readonly reason: string | null
  readonly actor: string
  readonly ends_at: Date
}

const COLUMNS =
  'tenant, id, connection_id, connector, state, browser, choices, wanted, code, reason, actor, ends_at'

/** Authorizations in the table `authorizations`. */
export function createAuthorizationStore(options: {
  readonly key: MasterKey
  readonly random: Random
  readonly clock: Clock
}): AuthorizationStore {
  const { key, random, clock } = options
  const placeOf = ({ tenant, id }: { readonly tenant: string; readonly id: string }, field: string) => ({
    tenant,
    record: id,
    field,
  })
  async function sealed(
    client: Queryable,
    at: { tenant: string; id: string },
    field: string,
    value: object,
  ): Promise<Buffer> {
    const { wrapper } = await sealingKey(client, key)
    return seal(wrapper, placeOf(at, field), Buffer.from(JSON.stringify(value)), random)
  }

  async function opened<Value>(
    client: Queryable,
    row: AuthorizationRow,
    column: 'sealed' | 'answer',
  ): Promise<Value | undefined> {
    const { rows } = await client.query<{ value: Buffer | null }>(
      `select ${column} as value from authorizations where tenant = $1 and id = $2`,
      [row.tenant, row.id],
    )
    const value = rows[0]?.value
    if (!value) return undefined
    return JSON.parse((await open(key, placeOf(row, column), value)).toString()) as Value
  }

  async function findBy(
    client: Queryable,
    column: 'id' | 'ticket' | 'state_hash',
    value: Buffer | string,
  ): Promise<AuthorizationRow | undefined> {
    // Whoever comes from a provider does not say whose tenant it is.
    const { rows } = await client.query<StoredRow>(
      `select ${COLUMNS} from authorizations where ${column} = $1`,
      [value],
    )
    return rows[0] && rowOf(rows[0])
  }

  return {
    async insert(client, begun) {
      const { tenant, id, connectionId, connector, ticket, secret, wanted, actor, endsAt } = begun
      await client.query(
        `insert into authorizations (tenant, id, connection_id, connector, state, ticket, state_hash, sealed, wanted,
           actor, begun_at, ends_at, changed_at)
         values ($1, $2, $3, $4, 'begun', $5, $6, $7, $8, $9, to_timestamp($10::float8 / 1000),
           to_timestamp($11::float8 / 1000), to_timestamp($10::float8 / 1000))`,
        [
          tenant,
          id,
          connectionId,
          connector,
          ticket,
          hashOf(secret.state),
          await sealed(client, { tenant, id }, 'sealed', secret),
          wanted ?? null,
          actor,
          clock.now(),
          endsAt,
        ],
      )
    },

    async read(client, tenant, id) {
      const { rows } = await client.query<StoredRow>(
        `select ${COLUMNS} from authorizations where tenant = $1 and id = $2`,
        [tenant, id],
      )
      return rows[0] && rowOf(rows[0])
    },

    findById: (client, id) => findBy(client, 'id', id),
    findByTicket: (client, ticket) => findBy(client, 'ticket', ticket),
    findByState: (client, state) => findBy(client, 'state_hash', state),

    async bind(client, { tenant, id }, browser) {
      const { rows } = await client.query(
        `update authorizations set browser = $3, state = 'opened', changed_at = to_timestamp($4::float8 / 1000)
         where tenant = $1 and id = $2 and state = 'begun' and browser is null returning id`,
        [tenant, id, browser, clock.now()],
      )
      return rows.length > 0
    },

    async move(client, { tenant, id }, from, to) {
      const { rows } = await client.query(
        `update authorizations set state = $4::text, code = $5, reason = $6, choices = $7,
           answer = case $4::text when 'granted' then null else coalesce($8, answer) end, wanted = coalesce($9, wanted),
           ends_at = coalesce(to_timestamp($10::float8 / 1000), ends_at),
           answered_at = case when $8::bytea is null then answered_at else to_timestamp($12::float8 / 1000) end,
           changed_at = to_timestamp($11::float8 / 1000)
         where tenant = $1 and id = $2 and state = any($3::text[]) and (state <> 'failed' or code = '${GIVEN_UP}') returning id`,
        [
          tenant,
          id,
          from,
          to.state,
          to.code ?? null,
          to.reason ?? null,
          to.choices ? JSON.stringify(to.choices) : null,
          to.answer ?? null,
          to.wanted ?? null,
          to.endsAt ?? null,
          clock.now(),
          to.answeredAt ?? clock.now(),
        ],
      )
      return rows.length > 0
    },

    async isOvertaken(client, { tenant, id, connectionId }) {
      const { rows } = await client.query(
        `select 1 from authorizations a join authorizations o on o.tenant = a.tenant and o.connection_id = a.connection_id
         where a.tenant = $1 and a.id = $2 and o.connection_id = $3 and o.state = 'granted' and o.answered_at > a.answered_at limit 1`,
        [tenant, id, connectionId],
      )
      return rows.length > 0
    },

    async secretOf(client, row) {
      return (await opened<AuthorizationSecret>(client, row, 'sealed'))!
    },
    sealAnswer: (client, row, answer) => sealed(client, row, 'answer', answer),
    answerOf: (client, row) => opened<AuthorizationAnswer>(client, row, 'answer'),

    async listLeft(client, { answered, asking }) {
      const { rows } = await client.query<StoredRow>(
        `select ${COLUMNS} from authorizations
         where (state = 'answered' and changed_at < to_timestamp($1::float8 / 1000))
            or (state = 'asking' and changed_at < to_timestamp($2::float8 / 1000))
         order by changed_at limit 100`,
        [answered, asking],
      )
      return rows.map(rowOf)
    },

    async sweep(client, tenant, before) {
      await client.query(
        `delete from authorizations where tenant = $1 and changed_at < to_timestamp($2::float8 / 1000)
           and state not in ('asking', 'answered')`,
        [tenant, before],
      )
    },
  }
}

function rowOf(row: StoredRow): AuthorizationRow {
  return {
    tenant: row.tenant,
    id: row.id,
    connectionId: row.connection_id,
    connector: row.connector,
    state: row.state,
    browser: row.browser ?? undefined,
    choices: row.choices === null ? [] : (parseJson(row.choices) as unknown as readonly AccountChoice[]),
    wanted: row.wanted ?? undefined,
    code: row.code ?? undefined,
    reason: row.reason ?? undefined,
    actor: row.actor as Actor,
    endsAt: row.ends_at,
  }
}

/** SHA-256 is enough: what is hashed has 256 random bits. */
export function hashOf(secret: string): Buffer {
  return createHash('sha256').update(secret).digest()
}
