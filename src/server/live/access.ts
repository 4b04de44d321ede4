import { createHash } from 'node:crypto'
import { HOUR, MINUTE, parseJson, type Clock, type Random } from '../../base/index.ts'
import type { Queryable } from '../../db/index.ts'
import { mayUse, type TokenStore } from '../../vault/index.ts'

/** One-time links to the live page. */
export interface LiveAccess {
  /**
   * A code for `/live/enter?code=…`: 32 random bytes in base64url. It is good for 10 minutes, once, at this process.
   * Only its hash is kept.
   */
  issue(): string
}

/** Who watches. */
export interface Viewer {
  readonly tenant: string
}

export interface LiveDoor extends LiveAccess {
  /** The secret of a new session, for a code of {@link LiveAccess.issue}; `undefined` where that is not good. */
  enterByCode(code: string): Promise<string | undefined>
  /** The same for an API token that has `live:read`. The session ends with the token. */
  enterByToken(token: string): Promise<string | undefined>
  /** Whose session this is; `undefined` where there is none, or no longer. */
  viewerOf(session: string): Promise<Viewer | undefined>
  leave(session: string): Promise<void>
}

export const CODE_FOR_MS = 10 * MINUTE
export const SESSION_FOR_MS = 12 * HOUR
/** Codes that wait to be used; older ones are given up for newer. */
const MOST_CODES = 1000
const SECRET = /^[A-Za-z0-9_-]{43}$/
const SESSION = 'live-session:'

interface StoredSession {
  readonly tenant: string
  /** Milliseconds since 1970. */
  readonly until: number
  /** Id of the token that it was opened with. */
  readonly token?: string
}

/** Codes are in this process; sessions are in the database, so that they outlive it. Both as hashes only. */
export function createLiveDoor(options: {
  readonly database: Queryable
  readonly tokens: Pick<TokenStore, 'verify' | 'inForce'>
  readonly clock: Clock
  readonly random: Random
  readonly tenant: string
}): LiveDoor {
  const { database, tokens, clock, random, tenant } = options
  const codes = new Map<string, number>()

  async function open(session: Omit<StoredSession, 'until'>): Promise<string> {
    const secret = random.bytes(32).toString('base64url')
    const stored: StoredSession = { ...session, until: clock.now() + SESSION_FOR_MS }
    await database.query(
      `with old as (delete from installation where starts_with(name, $3) and updated_at < to_timestamp($4::float8 / 1000))
       insert into installation (name, value, updated_at) values ($1, $2, to_timestamp($5::float8 / 1000))`,
      [
        SESSION + hashOf(secret),
        Buffer.from(JSON.stringify(stored)),
        SESSION,
        clock.now() - SESSION_FOR_MS,
        clock.now(),
      ],
    )
    return secret
  }

  return {
    issue() {
      const code = random.bytes(32).toString('base64url')
      if (codes.size >= MOST_CODES) codes.delete(codes.keys().next().value!)
      codes.set(hashOf(code), clock.now() + CODE_FOR_MS)
      return code
    },
    async enterByCode(code) {
      const hash = hashOf(code)
      const until = codes.get(hash)
      if (until === undefined) return undefined
      codes.delete(hash)
      return until >= clock.now() ? open({ tenant }) : undefined
    },
    async enterByToken(token) {
      const judged = await tokens.verify(token)
      if (judged.as !== 'in_force' || !mayUse(judged.token.rights, 'live:read')) return undefined
      return open({ tenant: judged.token.tenant, token: judged.token.id })
    },
    async viewerOf(session) {
      if (!SECRET.test(session)) return undefined
      const { rows } = await database.query<{ value: Buffer }>(
        'select value from installation where name = $1',
        [SESSION + hashOf(session)],
      )
      if (!rows[0]) return undefined
      const stored = parseJson(rows[0].value) as unknown as StoredSession
      if (stored.until < clock.now()) return undefined
      if (stored.token !== undefined && !(await tokens.inForce(stored.tenant, stored.token))) return undefined
      return { tenant: stored.tenant }
    },
    async leave(session) {
      await database.query('delete from installation where name = $1', [SESSION + hashOf(session)])
    },
  }
}

/** SHA-256 is enough: there are 256 random bits. Looking up by it tells nothing by its time. */
function hashOf(secret: string): string {
  return createHash('sha256').update(secret).digest('hex')
}
