import { atWords, countWords, defineDetector, FACTS_LIMIT } from './detector.ts'

interface OpenOutage {
  readonly id: string
  readonly connectionId: string
  readonly name: string
  /** Group of operations; `''` for the whole connection. */
  readonly group: string
  readonly cause: string
  readonly reason: string
  readonly openedBy: string
  readonly since: number
  readonly returnedAt: number | undefined
  readonly waiting: readonly { readonly flow: string; readonly count: number }[]
}

const COUNTED = 10_000

/** A provider, or one group of its operations, is not called because it does not work; or a person set it apart. */
export const outages = defineDetector<OpenOutage>({
  kind: 'outage',
  async facts({ client, tenant }) {
    const { rows } = await client.query<{
      id: string
      connection_id: string
      name: string | null
      op_group: string
      cause: string
      reason: string
      opened_by: string
      began_at: Date
      returned_at: Date | null
      waiting: readonly { flow: string; count: number }[] | null
    }>(
      // What is waited for, each once; of a whole connection's outage also the groups that became a part of it.
      `with recursive name as (
         (select parked_for from runs where tenant = $1 and parked_for is not null order by parked_for limit 1)
         union all
         (select next.parked_for from name n cross join lateral (select r.parked_for from runs r
            where r.tenant = $1 and r.parked_for is not null and r.parked_for > n.parked_for order by r.parked_for limit 1) next))
       select o.id, o.connection_id, c.name, o.op_group, o.cause, o.reason, o.opened_by, o.began_at, o.returned_at, w.waiting
       from outages o left join connections c on c.tenant = o.tenant and c.id = o.connection_id
       cross join lateral (select json_agg(json_build_object('flow', flow, 'count', count) order by flow) as waiting from (
         select flow, count(*) as count from (
           select r.flow from name n join runs r on r.tenant = o.tenant and r.parked_for = n.parked_for
             and (r.state = 'parked' or (r.state = 'undoing' and r.due_at is null and r.node_id is null))
           where split_part(n.parked_for, '/', 1) = o.connection_id and (split_part(n.parked_for, '/', 2) = o.op_group
             or (o.op_group = '' and not exists (select 1 from outages apart where apart.tenant = o.tenant
               and apart.connection_id = o.connection_id and apart.op_group = split_part(n.parked_for, '/', 2) and apart.ended_at is null)))
           limit ${COUNTED + 1}) r group by flow) f) w
       where o.tenant = $1 and o.ended_at is null and o.absorbed_by is null order by o.id limit ${FACTS_LIMIT}`,
      [tenant],
    )
    return rows.map((row) => ({
      id: row.id,
      connectionId: row.connection_id,
      name: row.name ?? row.connection_id,
      group: row.op_group,
      cause: row.cause,
      reason: row.reason,
      openedBy: row.opened_by,
      since: row.began_at.getTime(),
      returnedAt: row.returned_at?.getTime(),
      waiting: row.waiting ?? [],
    }))
  },
  condition(outage) {
    const { id, connectionId, name, group, since } = outage
    const whom = group === '' ? name : `${name}, ${group}`
    return {
      subject: id,
      title: outage.cause === 'isolated' ? `${whom} is set apart` : `${whom} has an outage`,
      what: whatOf(outage, whom),
      since,
      holdsUp: waitingWords(outage.waiting),
      todo: todoOf(outage),
      connectionId,
      covers: { connectionId, target: group === '' ? name : `${name}.${group}` },
    }
  },
  over: 'It works again, and what had waited is through.',
})

function whatOf({ cause, reason, openedBy, since, returnedAt }: OpenOutage, whom: string): string {
  if (returnedAt !== undefined)
    return `${whom} works again since ${atWords(returnedAt)}, after an outage that began at ${atWords(since)}; what waited is being let through.`
  if (cause === 'isolated')
    return `${whom} was set apart by ${openedBy} at ${atWords(since)}: it is not called until it is released.`
  return `${whom} ${cause === 'slow' ? 'answers too slowly' : 'does not work'} since ${atWords(since)}, and is not called. ${reason}`
}

function waitingWords(waiting: OpenOutage['waiting']): string {
  const total = waiting.reduce((sum, { count }) => sum + count, 0)
  if (total === 0) return 'No run waits for it yet.'
  if (total > COUNTED)
    return `${countWords(total, 'run is', 'runs are', COUNTED)} parked until it works again.`
  const flows = waiting.map(({ flow, count }) => `${count.toLocaleString('en')} of ${flow}`)
  return `${countWords(total, 'run is', 'runs are')} parked until it works again: ${flows.join(', ')}.`
}

function todoOf({ cause, returnedAt, name }: OpenOutage): string {
  if (returnedAt !== undefined) return 'Nothing: parked runs go on by themselves, in order and paced.'
  if (cause === 'isolated')
    return `Release it when it may be called again: trestle connections release ${name}`
  return 'Look at what the provider says about it. It is asked from time to time; runs are parked, lose no attempts, and go on by themselves.'
}
