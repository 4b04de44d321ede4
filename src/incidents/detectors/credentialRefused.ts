import { atWords, defineDetector, FACTS_LIMIT } from './detector.ts'

interface RefusedCredential {
  readonly id: string
  readonly name: string
  readonly connector: string
  readonly since: number
  readonly reason: string
  /** Until when the former one counts that is used instead. */
  readonly formerUntil: number | undefined
  /** Its connector has nothing to check it with. */
  readonly unchecked: boolean
}

/** As long as runs that were refused look again, and some: without a refusal for this time it is over. */
export const REFUSAL_LASTS_MS = 15 * 60_000

/**
 * A provider refuses a credential, and calls over the connection go on all the same: those that carry the one that was
 * rotated out, or those that it is enough for. Where nothing goes on, the connection needs reauthorization.
 */
export const credentialRefused = defineDetector<RefusedCredential>({
  kind: 'credential_refused',
  async facts({ client, tenant, now }) {
    const { rows } = await client.query<{
      id: string
      name: string
      connector: string
      refused_since: Date
      refused_reason: string | null
      former_until: Date | null
      unchecked: boolean
    }>(
      `select c.id, c.name, c.connector, k.refused_since, k.refused_reason, k.code is not distinct from 'no_check' as unchecked,
         (select max(s.expires_at) from secrets s where k.former_used_at is not null and s.tenant = c.tenant and s.connection_id = c.id
            and s.field like 'former.%' and s.field not like '%.webhookSecret' and s.expires_at > $3) as former_until
       from connection_checks k join connections c on c.tenant = k.tenant and c.id = k.connection_id and c.state = 'active'
       where k.tenant = $1 and k.refused_since is not null and k.refused_at > $2
         and (k.former_used_at is not null or k.checked_at >= k.refused_since)
       order by c.id limit ${FACTS_LIMIT}`,
      [tenant, new Date(now - REFUSAL_LASTS_MS), new Date(now)],
    )
    return rows.map((row) => ({
      id: row.id,
      name: row.name,
      connector: row.connector,
      since: row.refused_since.getTime(),
      reason: row.refused_reason ?? 'It answered 401.',
      formerUntil: row.former_until?.getTime(),
      unchecked: row.unchecked,
    }))
  },
  condition({ id, name, connector, since, reason, formerUntil, unchecked }) {
    const subject = {
      subject: id,
      title: `The provider of ${name} refuses its credential`,
      since,
      connectionId: id,
    }
    if (formerUntil !== undefined)
      return {
        ...subject,
        what: `${name} (${connector}) does not take the credential that was rotated in, since ${atWords(since)}.`,
        holdsUp: `Nothing yet: calls carry the former one, which counts until ${atWords(formerUntil)}. From then on they wait.`,
        todo: `Look at the provider whether the new one is in force. Give another with: trestle connections rotate ${name}`,
      }
    if (unchecked)
      return {
        ...subject,
        what: `${name} (${connector}) refuses calls since ${atWords(since)}, and its connector names no cheap read that would show whether the credential is good for others. ${reason}`,
        holdsUp: 'The runs of those calls. They look again every five minutes.',
        todo: `Look at the provider whether the credential was taken back. Give another with: trestle connections add ${name}`,
      }
    return {
      ...subject,
      what: `${name} (${connector}) refuses some calls since ${atWords(since)}, though it takes the same credential for its check. ${reason}`,
      holdsUp: 'The runs of those calls. They look again every five minutes.',
      todo: 'Look at the provider what this credential may do, and give it the right that is missing, or another.',
    }
  },
  over: 'No call was refused for a quarter of an hour.',
})
