import { DAY } from '../../base/index.ts'
import { atWords, defineDetector, FACTS_LIMIT } from './detector.ts'

interface EndingToken {
  readonly id: string
  readonly name: string
  readonly createdAt: number
  readonly endsAt: number
  readonly usedAt: number
}

/** Told so long before the end; of a token that was made for less than four times as long, a quarter of its life. */
export const TOLD_BEFORE_MS = 7 * DAY
/** A token that nobody used for so long is missed by nobody. */
export const IN_USE_MS = 30 * DAY
/** After its end it is told of for so long: whoever used it gets 401. */
export const TOLD_AFTER_MS = DAY

/** An API token that is in use ends soon, or has just ended, and nothing took its place. */
export const tokenExpiry = defineDetector<EndingToken>({
  kind: 'token_expiry',
  async facts({ client, tenant, now }) {
    const { rows } = await client.query<{
      id: string
      name: string
      created_at: Date
      expires_at: Date
      last_used_at: Date
    }>(
      `select id, name, created_at, expires_at, last_used_at from tokens
       where tenant = $1 and revoked_at is null and replaced_by is null and last_used_at > $2
         and expires_at > $3 and expires_at <= $4
       order by expires_at, id limit ${FACTS_LIMIT}`,
      [tenant, new Date(now - IN_USE_MS), new Date(now - TOLD_AFTER_MS), new Date(now + TOLD_BEFORE_MS)],
    )
    return rows.map((row) => ({
      id: row.id,
      name: row.name,
      createdAt: row.created_at.getTime(),
      endsAt: row.expires_at.getTime(),
      usedAt: row.last_used_at.getTime(),
    }))
  },
  condition({ id, name, createdAt, endsAt, usedAt }, now) {
    const since = endsAt - Math.min(TOLD_BEFORE_MS, (endsAt - createdAt) / 4)
    if (now < since) return undefined
    const isOver = now >= endsAt
    return {
      subject: id,
      title: `The API token "${name}" ends`,
      what: `The API token "${name}" (${id}) ${isOver ? 'ended' : 'ends'} at ${atWords(endsAt)}. It was last used at ${atWords(usedAt)}.`,
      since,
      holdsUp: isOver
        ? 'Whoever uses it is answered 401.'
        : 'Nothing yet; from then on whoever uses it is answered 401.',
      todo: isOver
        ? `Make another: trestle tokens create "${name}". Give it to whoever used this one.`
        : `Make the next one, and put it in its place: trestle tokens rotate ${id}`,
    }
  },
  over: 'It was rotated or revoked, or it ended a day ago.',
})
