import { createHash } from 'node:crypto'
import { MINUTE, SECOND, type Clock } from '../base/index.ts'
import type { Connection } from './connections.ts'
import type { GrantKeeper } from './oauth.ts'
import type { Refresher } from './refresh.ts'
import { GRANT_FIELD } from './secrets.ts'
import type { VaultStorage } from './storage.ts'

/** Grants that end within this time are looked at: twice the longest `refreshAheadSeconds` that has an effect here. */
const HORIZON_MS = 10 * MINUTE
/** Grants that one look takes up, and refreshes that it makes at a time. */
const AT_ONCE = 200
const REFRESHES_AT_ONCE = 8
/** An answer that lies unread for so long has lost the node that kept it. */
const UNREAD_FOR_MS = 5 * SECOND

export interface RefreshAheadOptions {
  readonly storage: VaultStorage
  readonly keeper: GrantKeeper
  readonly refresher: Refresher
  readonly clock: Clock
  readonly loadConnectionById: (tenant: string, id: string) => Promise<Connection>
}

/** Each looks once, and gives how many it took up. Every node may look; each grant has one refresh all the same. */
export interface RefreshLooks {
  /** For grants that near their end, also where nobody is calling with them. */
  ahead(): Promise<number>
  /** For what a node left behind that died in a refresh. A slow token endpoint of others keeps nobody waiting here. */
  leftBehind(): Promise<number>
}

export function createRefreshLooks(options: RefreshAheadOptions): RefreshLooks {
  const { storage, keeper, refresher, clock } = options

  interface Found {
    readonly tenant: string
    readonly id: string
    readonly version: string
    /** What is left to do: see to the end of its token, of a refresh without an answer, or of one with an answer. */
    readonly todo: 'expiring' | 'lost' | 'unread'
  }

  async function findExpiring(): Promise<readonly Found[]> {
    const { rows } = await storage.reader.query<Found>(
      // Neither those whose token endpoint is left alone for now, nor those that another node asks for.
      `select s.tenant, s.connection_id as id, s.version::text, 'expiring' as todo from secrets s
         join connections c on c.tenant = s.tenant and c.id = s.connection_id and c.state = 'active'
       where s.field = '${GRANT_FIELD}' and s.expires_at < $1
         and not exists (select 1 from grant_refreshes r where r.tenant = s.tenant
           and r.connection_id = s.connection_id
           and (r.state = 'failed' and r.retry_at > $2 or r.state = 'asking' and r.lease_until > clock_timestamp()))
       order by s.expires_at limit ${AT_ONCE}`,
      [new Date(clock.now() + HORIZON_MS), new Date(clock.now())],
    )
    return rows
  }

  async function findLeftBehind(): Promise<readonly Found[]> {
    const { rows } = await storage.reader.query<Found>(
      `select r.tenant, r.connection_id as id, r.replaces::text as version,
         case r.state when 'answered' then 'unread' else 'lost' end as todo
       from grant_refreshes r join connections c on c.tenant = r.tenant and c.id = r.connection_id
       where (r.state = 'asking' and r.lease_until <= clock_timestamp() and c.state = 'active')
          or (r.state = 'answered' and r.lease_until <= clock_timestamp() - ${UNREAD_FOR_MS} * interval '1 millisecond')
       order by r.lease_until limit ${AT_ONCE}`,
    )
    return rows
  }

  async function takeUp({ tenant, id, version, todo }: Found): Promise<void> {
    const connection = await options.loadConnectionById(tenant, id).catch(() => undefined)
    if (connection?.auth?.kind !== 'oauth2') return
    if (todo === 'unread') await refresher.recover(connection)
    else if (todo === 'lost') await keeper.refreshLost(connection, version)
    else await keeper.refreshAhead(connection, scatterOf(id, version))
  }

  async function takeUpAll(found: readonly Found[]): Promise<number> {
    const waiting = [...found]
    const work = async (): Promise<void> => {
      for (let one = waiting.shift(); one !== undefined; one = waiting.shift())
        await takeUp(one).catch(() => undefined)
    }
    await Promise.all(Array.from({ length: REFRESHES_AT_ONCE }, work))
    return found.length
  }

  return {
    ahead: async () => takeUpAll(await findExpiring()),
    leftBehind: async () => takeUpAll(await findLeftBehind()),
  }
}

/** From 0 to 1, the same on every node: grants that were made together do not end together. */
function scatterOf(id: string, version: string): number {
  return createHash('sha256').update(`${id}/${version}`).digest().readUInt32LE(0) / 2 ** 32
}
