import { atWords, countWords, defineDetector, FACTS_LIMIT } from './detector.ts'

interface LostGrant {
  readonly id: string
  readonly name: string
  readonly connector: string
  readonly since: number
  readonly parked: number
}

const COUNTED = 1_000

/** A connection's credential is not accepted any more, and only a person can give another. */
export const reauthorization = defineDetector<LostGrant>({
  kind: 'reauthorization',
  async facts({ client, tenant }) {
    const { rows } = await client.query<{
      id: string
      name: string
      connector: string
      updated_at: Date
      parked: string
      refused_reason: string | null
    }>(
      `select c.id, c.name, c.connector, c.updated_at, k.refused_reason,
         (select count(*)::text from (select 1 from runs r where r.tenant = c.tenant and (r.state = 'parked' or (r.state = 'undoing' and r.due_at is null and r.node_id is null))
            and r.parked_for in ('missing/' || c.id, 'refused/' || c.id) limit ${COUNTED + 1}) p) as parked
       from connections c left join connection_checks k on k.tenant = c.tenant and k.connection_id = c.id where c.tenant = $1 and c.state = 'needs_reauthorization' order by c.id limit ${FACTS_LIMIT}`,
      [tenant],
    )
    return rows.map((row) => ({
      id: row.id,
      name: row.name,
      connector: row.connector,
      since: row.updated_at.getTime(),
      parked: Number(row.parked),
    }))
  },
  condition({ id, name, connector, since, parked }) {
    return {
      subject: id,
      title: `The connection ${name} must be authorized again`,
      what: `${name} (${connector}) has not accepted our credential since ${atWords(since)}.`,
      since,
      holdsUp:
        parked === 0
          ? 'No run is parked yet; the next call over it will be.'
          : `${countWords(parked, 'run is', 'runs are', COUNTED)} parked for it.`,
      todo: `Give it a new credential: trestle connections add ${name}. Its runs go on by themselves within seconds.`,
      connectionId: id,
    }
  },
  over: 'The connection is authorized again.',
})
