import { DAY } from '../../base/index.ts'
import { atWords, defineDetector, FACTS_LIMIT } from './detector.ts'

interface EndingSecret {
  readonly id: string
  readonly name: string
  readonly connector: string
  readonly field: string
  readonly endsAt: number
  readonly movedAt: number | undefined
}

/** Told so long before the end, and again when so many days are left, and when it has come. */
export const TOLD_BEFORE_MS = 30 * DAY
const LESS_THAN = [1, 3, 7, 30]

/** A credential ends soon, or has ended, and only a person can give another. */
export const credentialExpiry = defineDetector<EndingSecret>({
  kind: 'credential_expiry',
  async facts({ client, tenant, now }) {
    const { rows } = await client.query<{
      id: string
      name: string
      connector: string
      field: string
      ends_at: Date
      end_moved_at: Date | null
    }>(
      `select c.id, c.name, c.connector, s.field, s.ends_at, s.end_moved_at from secrets s
       join connections c on c.tenant = s.tenant and c.id = s.connection_id and c.state <> 'revoked'
       where s.tenant = $1 and s.ends_at <= $2 and s.field not like 'former.%'
       order by s.ends_at, c.id, s.field limit ${FACTS_LIMIT}`,
      [tenant, new Date(now + TOLD_BEFORE_MS)],
    )
    return rows.map((row) => ({
      id: row.id,
      name: row.name,
      connector: row.connector,
      field: row.field,
      endsAt: row.ends_at.getTime(),
      movedAt: row.end_moved_at?.getTime(),
    }))
  },
  condition({ id, name, connector, field, endsAt, movedAt }, now) {
    const isGrant = field === 'grant'
    // A refresh moves the end of most grants: only one that stays as it was ends.
    const before = isGrant && movedAt !== undefined ? (endsAt - movedAt) / 4 : TOLD_BEFORE_MS
    const since = endsAt - Math.min(TOLD_BEFORE_MS, before)
    if (now < since) return undefined
    const what = isGrant ? 'authorization' : field.replace(/\.\d+$/, '')
    const isOver = now >= endsAt
    const days = LESS_THAN.find((one) => endsAt - now <= one * DAY)
    const rotates = !isGrant && !['clientId', 'clientSecret'].includes(field)
    return {
      subject: `${id} ${field}`,
      title: `The ${what} of ${name} ends`,
      what: `The ${what} of ${name} (${connector}) ${isOver ? 'ended' : 'ends'} at ${atWords(endsAt)}.`,
      since,
      toldAgain: true,
      holdsUp: isOver
        ? 'Every call over this connection that needs it.'
        : `Nothing yet; ${days === 1 ? 'less than a day is' : `less than ${days} days are`} left. From then on what needs it waits.`,
      todo: isGrant
        ? `Authorize it again: trestle connections add ${name}`
        : `Make a new one at the provider, and put it in place: trestle connections ${rotates ? 'rotate' : 'add'} ${name} --secret ${what}=prompt`,
      connectionId: id,
    }
  },
  over: 'There is a new one, or it ends later.',
})
