import { DAY, NotFoundError, UsageError, type Clock } from '../base/index.ts'
import { authFor, secretFieldsOf, type AuthScheme, type ConnectionState } from '../define/index.ts'
import type { Queryable } from '../db/index.ts'
import type { Actor } from '../ledger/index.ts'
import { CLIENT_SECRET_KIND, formerField, formerOf, kindOf, WEBHOOK_SECRET_KIND } from './formers.ts'
import { faultOfSecret, isWebhookSecretField, webhookSecretField } from './plan.ts'
import { leaveReturn } from './returns.ts'
import { setEnd, type SecretStore } from './secrets.ts'
import type { ConnectionRef, RecordEntry, VaultStorage } from './storage.ts'

/** How long the former one counts where nothing else is said. */
export const DEFAULT_OVERLAP_MS = DAY
export const LONGEST_OVERLAP_MS = 30 * DAY
/** Rotated-out secrets of one kind that are kept at most; of more the oldest goes. */
export const MOST_FORMERS = 10

export interface RotationWish {
  /** By field, such as `apiKey`; under `webhookSecret` what webhooks are verified with. */
  readonly secrets: Readonly<Record<string, string>>
  /** Until then the former ones count, too, in milliseconds. Default: a day; 30 days at most; 0: no longer. */
  readonly overlapMs?: number | undefined
  /** When the new ones end, where that is known. */
  readonly endsAt?: Date | undefined
}

export interface Rotated {
  readonly id: string
  readonly fields: readonly string[]
  /** Until when the former ones count. */
  readonly formerUntil: Date
}

export interface Rotator {
  /**
   * What is wrong with a rotation, without doing it. Throws `not_found`, or a {@link UsageError} that says what to do:
   * `secret_unknown`, `secret_invalid`, `secret_missing`, `secret_same`, `overlap_invalid`.
   */
  checkRotation(tenant: string, name: string, wish: RotationWish): Promise<void>
  /** Puts new secrets in the place of others, which count for a while longer. Of several, all or none. */
  rotate(tenant: string, name: string, wish: RotationWish, actor: Actor): Promise<Rotated>
  /** Says when a secret ends, or with `null` that this is not known. Throws `not_found` and `secret_missing`. */
  setEnd(tenant: string, name: string, field: string, endsAt: Date | null, actor: Actor): Promise<void>
  /** Deletes what was rotated out and does not count any more; gives how many. */
  dropFormers(tenant: string): Promise<number>
}

export interface RotatorOptions {
  readonly storage: VaultStorage
  readonly secrets: Pick<SecretStore, 'put' | 'retire' | 'isAmong' | 'remove'>
  readonly authOf: (connector: string) => AuthScheme | undefined
  readonly clock: Clock
  readonly record: RecordEntry
  readonly checkMasterKey: () => Promise<void>
  readonly onChanged: (connection: ConnectionRef) => void
}

/** Rotates secrets of connections with an overlap. */
export function createRotator(options: RotatorOptions): Rotator {
  const { storage, secrets, clock, record } = options

  async function rotate(tenant: string, name: string, wish: RotationWish, actor: Actor): Promise<Rotated> {
    await options.checkMasterKey()
    const formerUntil = new Date(clock.now() + overlapOf(wish))
    const rotated = await storage.transaction(async (client) => {
      const found = await readConnection(client, tenant, name, 'for update')
      refuse(found, wish)
      const connection = { tenant, id: found.id }
      const number = 1 + Math.max(-1, ...found.fields.map((field) => formerOf(field)?.number ?? -1))
      for (const [kind, value] of Object.entries(wish.secrets))
        await rotateOne(client, { connection, found, kind, value, number, formerUntil, wish, actor })
      if (Object.keys(wish.secrets).some((kind) => isSentWithCalls(kind)))
        await welcome(client, connection, found, actor)
      return { id: found.id, fields: Object.keys(wish.secrets), formerUntil }
    })
    options.onChanged({ tenant, id: rotated.id })
    return rotated
  }

  interface One {
    readonly connection: ConnectionRef
    readonly found: Found
    readonly kind: string
    readonly value: string
    /** What is put aside has it; several of a kind have those that follow. */
    readonly number: number
    readonly formerUntil: Date
    readonly wish: RotationWish
    readonly actor: Actor
  }

  async function rotateOne(client: Queryable, one: One): Promise<void> {
    const { connection, found, kind, value, number, formerUntil, wish, actor } = one
    const present = found.fields.filter((field) => kindOf(field) === kind)
    if (await secrets.isAmong(client, connection, present, value))
      throw new UsageError(
        'secret_same',
        `Connection "${found.name}" has this ${kind} already. Nothing was changed. Make a new one at the provider, and give that.`,
      )
    const formers = found.fields.filter((field) => formerOf(field)?.kind === kind).sort(byNumber)
    // Who takes a rotation back gives a secret that was put aside.
    for (const field of formers)
      if (await secrets.isAmong(client, connection, [field], value)) await drop(client, connection, [field])
    for (const [i, field] of present.entries())
      await secrets.retire(client, connection, field, {
        into: formerField(number + i, kind),
        until: formerUntil,
      })
    const surplus = formers.slice(0, Math.max(0, formers.length + present.length - MOST_FORMERS))
    // Several webhook secrets are all put aside, and one takes their place.
    const into = kind === WEBHOOK_SECRET_KIND ? webhookSecretField(0) : kind
    await drop(client, connection, [...surplus, ...present.filter((field) => field !== into)])
    await secrets.put(client, {
      connection,
      field: into,
      value,
      actor,
      endsAt: wish.endsAt,
      rotation: { name: found.name, field: kind, formerUntil: formerUntil.toISOString() },
    })
  }

  /** Deletes fields without a word in the ledger: what they held is told of otherwise. */
  async function drop(
    client: Queryable,
    connection: ConnectionRef,
    fields: readonly string[],
  ): Promise<void> {
    if (fields.length > 0)
      await client.query('delete from secrets where tenant = $1 and connection_id = $2 and field = any($3)', [
        connection.tenant,
        connection.id,
        fields,
      ])
  }

  /** Whoever waited for a credential goes on, and what was seen of the former one says nothing any more. */
  async function welcome(
    client: Queryable,
    connection: ConnectionRef,
    { name, state }: Found,
    actor: Actor,
  ): Promise<void> {
    await leaveReturn(client, connection, clock)
    if (state !== 'needs_reauthorization') return
    await client.query(
      `update connections set state = 'active', updated_at = now() where tenant = $1 and id = $2`,
      [connection.tenant, connection.id],
    )
    await record(client, {
      tenant: connection.tenant,
      at: clock.now(),
      actor,
      action: 'connection.reauthorized',
      target: connection.id,
      outcome: 'succeeded',
      connectionId: connection.id,
      detail: { name, by: 'a rotation' },
    })
  }

  function refuse(found: Found, wish: RotationWish): void {
    overlapOf(wish)
    const known = rotatable(found, options.authOf(found.connector))
    const given = Object.entries(wish.secrets)
    if (given.length === 0)
      throw new UsageError(
        'secret_missing',
        `Say which secret is rotated: ${known.join(', ') || 'it has none'}.`,
      )
    for (const [kind, value] of given) {
      if (!known.includes(kind))
        throw new UsageError(
          'secret_unknown',
          `Connection "${found.name}" has no "${kind}" that can be rotated with an overlap. It has: ${known.join(', ') || 'none'}. Give any other with: trestle connections add ${found.name}`,
        )
      const fault = faultOfSecret(kind === WEBHOOK_SECRET_KIND ? webhookSecretField(0) : kind, value)
      if (fault !== undefined)
        throw new UsageError('secret_invalid', `The new "${kind}" is unusable: ${fault}`)
    }
  }

  return {
    rotate,
    async checkRotation(tenant, name, wish) {
      refuse(await readConnection(storage.reader, tenant, name), wish)
    },
    async setEnd(tenant, name, field, endsAt, actor) {
      await storage.transaction(async (client) => {
        const found = await readConnection(client, tenant, name, 'for update')
        const own = found.fields.filter((one) => kindOf(one) === field)
        if (own.length === 0)
          throw new UsageError(
            'secret_missing',
            `Connection "${name}" has no secret "${field}". It has: ${[...new Set(found.fields.filter((one) => !formerOf(one)).map(kindOf))].join(', ') || 'none'}.`,
          )
        const connection = { tenant, id: found.id }
        for (const one of own) await setEnd(client, connection, one, endsAt)
        await record(client, {
          tenant,
          at: clock.now(),
          actor,
          action: 'connection.changed',
          target: found.id,
          outcome: 'succeeded',
          connectionId: found.id,
          detail: { name, field, endsAt: endsAt?.toISOString() ?? 'not known' },
        })
      })
    },
    async dropFormers(tenant) {
      // Of a declared connection they are kept: the configuration may still have one, and must not bring it back.
      const { rows } = await storage.reader.query(
        `delete from secrets s using connections c
         where s.tenant = $1 and s.field like 'former.%' and s.expires_at <= $2
           and c.tenant = s.tenant and c.id = s.connection_id and not c.declared returning 1`,
        [tenant, new Date(clock.now())],
      )
      return rows.length
    },
  }
}

interface Found {
  readonly id: string
  readonly name: string
  readonly connector: string
  readonly state: ConnectionState
  readonly fields: readonly string[]
}

async function readConnection(
  client: Queryable,
  tenant: string,
  name: string,
  lock: '' | 'for update' = '',
): Promise<Found> {
  const { rows } = await client.query<Omit<Found, 'fields'>>(
    `select id, name, connector, state from connections where tenant = $1 and name = $2 ${lock}`,
    [tenant, name],
  )
  const found = rows[0]
  if (found === undefined || found.state === 'revoked')
    throw new NotFoundError('connection', name, 'See them with: trestle connections list')
  const { rows: fields } = await client.query<{ field: string }>(
    'select field from secrets where tenant = $1 and connection_id = $2 order by field',
    [tenant, found.id],
  )
  return { ...found, fields: fields.map(({ field }) => field) }
}

/** Calls do not carry the others: a new one of those gives no run a reason to go on. */
function isSentWithCalls(kind: string): boolean {
  return kind !== WEBHOOK_SECRET_KIND && kind !== CLIENT_SECRET_KIND
}

/** What the connection has and may have two of for a while. OAuth grants rotate by themselves, or are given anew. */
function rotatable({ fields }: Found, auth: AuthScheme | undefined): readonly string[] {
  const used = auth && authFor(auth, fields)
  const own = used === undefined ? [] : used.kind === 'oauth2' ? [CLIENT_SECRET_KIND] : secretFieldsOf(used)
  return [
    ...own.filter((field) => fields.includes(field)),
    ...(fields.some(isWebhookSecretField) ? [WEBHOOK_SECRET_KIND] : []),
  ]
}

function overlapOf({ overlapMs = DEFAULT_OVERLAP_MS }: RotationWish): number {
  if (overlapMs >= 0 && overlapMs <= LONGEST_OVERLAP_MS) return overlapMs
  throw new UsageError('overlap_invalid', 'The overlap is at most 30 days. Write for example 24h.')
}

function byNumber(a: string, b: string): number {
  return formerOf(a)!.number - formerOf(b)!.number
}
