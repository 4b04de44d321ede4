import { DAY } from '../../base/index.ts'
import { atWords, defineDetector, FACTS_LIMIT } from './detector.ts'

interface EndingCertificate {
  readonly id: string
  readonly name: string
  readonly baseUrl: string
  readonly isOwn: boolean
  readonly from: number
  readonly endsAt: number
}

/** Told so long before the end of a certificate of a system in a private network, whose people can renew it. */
export const TOLD_BEFORE_MS = 14 * DAY
/** Of any other server's: those who run it renew it as a rule, and later than one would like. */
export const TOLD_BEFORE_OF_OTHERS_MS = 3 * DAY
/** Never before this part of its life is left: authorities give certificates for 6 days, too, and they are renewed later. */
const LEFT_OF_LIFE = 1 / 6
/** A server that nobody has asked for so long may have another certificate long since. */
export const ASKED_LATELY_MS = 3 * DAY

/** The certificate of a connection's server ends soon, or has ended: from then on no call is sent. */
export const certificateExpiry = defineDetector<EndingCertificate>({
  kind: 'certificate_expiry',
  async facts({ client, tenant, now }) {
    const { rows } = await client.query<{
      id: string
      name: string
      base_url: string
      allow_private: boolean
      certificate_from: Date
      certificate_ends_at: Date
    }>(
      `select c.id, c.name, c.base_url, c.allow_private, k.certificate_from, k.certificate_ends_at from connection_checks k
       join connections c on c.tenant = k.tenant and c.id = k.connection_id and c.state <> 'revoked'
       where k.tenant = $1 and k.certificate_ends_at <= $2
         and greatest(k.used_at, case when k.outcome <> 'not_made' then k.checked_at end) > $3
       order by k.certificate_ends_at, c.id limit ${FACTS_LIMIT}`,
      [tenant, new Date(now + TOLD_BEFORE_MS), new Date(now - ASKED_LATELY_MS)],
    )
    return rows.map((row) => ({
      id: row.id,
      name: row.name,
      baseUrl: row.base_url,
      isOwn: row.allow_private,
      from: row.certificate_from.getTime(),
      endsAt: row.certificate_ends_at.getTime(),
    }))
  },
  condition({ id, name, baseUrl, isOwn, from, endsAt }, now) {
    const before = isOwn ? TOLD_BEFORE_MS : TOLD_BEFORE_OF_OTHERS_MS
    const since = endsAt - Math.min(before, (endsAt - from) * LEFT_OF_LIFE)
    if (now < since) return undefined
    const isOver = now >= endsAt
    return {
      subject: id,
      title: `The certificate of the server of ${name} ends`,
      what: `The certificate of ${baseUrl} (${name}) ${isOver ? 'ended' : 'ends'} at ${atWords(endsAt)}.`,
      since,
      holdsUp: isOver
        ? 'Every call over this connection: without a valid certificate nothing is sent.'
        : 'Nothing yet; from then on no call over this connection is sent.',
      todo: `${isOwn ? 'Renew it on that server' : 'Ask those who run that server to renew it, unless they do so by themselves'}. It is seen with the next call; to see it at once: trestle connections test ${name}`,
      connectionId: id,
    }
  },
  over: 'The server has another certificate.',
})
