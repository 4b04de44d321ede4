import { SECOND } from '../../base/index.ts'
import { atWords, defineDetector, FACTS_LIMIT } from './detector.ts'

interface FailingRefresh {
  readonly connectionId: string
  readonly name: string
  readonly connector: string
  readonly failures: number
  /** An answer may have been lost with its node, and the next question has had none yet. */
  readonly isInDoubt: boolean
  readonly since: number
  readonly reason: string
  readonly endsAt: number | undefined
}

/** A token endpoint that failed so many times in a row is told of. With the pauses between them, after half a minute. */
export const REFRESH_FAILURES = 3

/**
 * A grant whose answer may have been lost is told of where the next question takes so long: who put it may be dead too,
 * and a person should not hear of it only when the turn of the last of them has ended.
 */
export const IN_DOUBT_MS = 15 * SECOND

/** The grant of a connection cannot be refreshed: its calls wait, or will when its token has ended. */
export const credentialRefresh = defineDetector<FailingRefresh>({
  kind: 'credential_refresh',
  async facts({ client, tenant, now }) {
    const { rows } = await client.query<{
      connection_id: string
      name: string
      connector: string
      failures: number
      in_doubt: boolean
      begun_at: Date
      reason: string | null
      expires_at: Date | null
    }>(
      // A try that is under way knows of those before it.
      `select distinct on (r.connection_id) r.connection_id, c.name, c.connector, r.failures, r.failures < ${REFRESH_FAILURES} as in_doubt, r.begun_at, r.reason, s.expires_at
       from grant_refreshes r
       join connections c on c.tenant = r.tenant and c.id = r.connection_id and c.state = 'active'
       join secrets s on s.tenant = r.tenant and s.connection_id = r.connection_id and s.field = 'grant' and s.version = r.replaces
       where r.tenant = $1 and (
         r.state in ('asking', 'failed') and r.failures >= ${REFRESH_FAILURES}
         or r.state = 'asking' and r.doubtful and r.begun_at <= $2)
       order by r.connection_id, r.begun_at desc limit ${FACTS_LIMIT}`,
      [tenant, new Date(now - IN_DOUBT_MS)],
    )
    return rows.map((row) => ({
      connectionId: row.connection_id,
      name: row.name,
      connector: row.connector,
      failures: row.failures,
      isInDoubt: row.in_doubt,
      since: row.begun_at.getTime(),
      reason: row.reason ?? 'The token endpoint did not answer as it should.',
      endsAt: row.expires_at?.getTime(),
    }))
  },
  condition({ connectionId, name, connector, failures, isInDoubt, since, reason, endsAt }, now) {
    const isOver = endsAt !== undefined && endsAt <= now
    return {
      subject: connectionId,
      title: `The credential of ${name} cannot be renewed`,
      what: isInDoubt
        ? `An answer of the token endpoint of ${name} (${connector}) may have been lost with the node that asked for it, and the next question has had none since ${atWords(since)}. If the provider gives refresh tokens that are good once, the grant may be over.`
        : `The token endpoint of ${name} (${connector}) has failed ${failures} times in a row. ${reason}`,
      since,
      holdsUp: isOver
        ? `Every call over this connection: its token ended at ${atWords(endsAt)}. The runs wait and lose no attempt.`
        : `Nothing yet${endsAt === undefined ? '' : `; from ${atWords(endsAt)} on every call over this connection waits`}.`,
      todo: "Nothing where the provider is away: it is asked again by itself, and the runs go on. Where it lasts, look at the provider's status page.",
      connectionId,
    }
  },
  over: 'The credential was renewed.',
})
