import { MINUTE, type Clock } from '../base/index.ts'
import type { VaultStorage } from './storage.ts'

/** Uses are written down this often, all in one statement. */
export const USES_EVERY_MS = MINUTE

/** When tokens were last used, kept in this process and written now and then: a request costs no write. */
export interface TokenUses {
  note(token: { readonly tenant: string; readonly id: string }): void
  /** Writes what was noted. Where that fails, it is tried again with the next. */
  save(): Promise<void>
}

type Noted = readonly [id: string, use: { readonly tenant: string; readonly at: number }]

export function createTokenUses({ storage, clock }: { storage: VaultStorage; clock: Clock }): TokenUses {
  /** By id, since ids are unique over tenants; at most as many as there are tokens in force. */
  let noted = new Map<string, { readonly tenant: string; readonly at: number }>()
  let cancel: (() => void) | undefined

  async function save(): Promise<void> {
    cancel?.()
    cancel = undefined
    const now = noted
    noted = new Map()
    if (now.size === 0) return
    try {
      await writeUses(storage, [...now])
    } catch (error) {
      noted = new Map([...now, ...noted])
      schedule()
      throw error
    }
  }

  function schedule(): void {
    cancel ??= clock.after(USES_EVERY_MS, () => {
      save().catch(() => {}) // The database is away, which others report; it is tried again.
    })
  }

  return {
    note({ tenant, id }) {
      noted.set(id, { tenant, at: clock.now() })
      schedule()
    },
    save,
  }
}

/** A statement for each tenant. A row that another node writes now is left to it: it has nearly the same time. */
async function writeUses({ reader }: VaultStorage, uses: readonly Noted[]): Promise<void> {
  for (const tenant of new Set(uses.map((use) => use[1].tenant))) {
    const own = uses.filter((use) => use[1].tenant === tenant)
    await reader.query(
      `with free as (select id from tokens where tenant = $1 and id = any($2::text[]) for update skip locked)
       update tokens t set last_used_at = greatest(t.last_used_at, to_timestamp(u.at / 1000))
       from unnest($2::text[], $3::float8[]) as u (id, at)
       where t.tenant = $1 and t.id = u.id and t.id in (select id from free)`,
      [tenant, own.map(([id]) => id), own.map(([, { at }]) => at)],
    )
  }
}
