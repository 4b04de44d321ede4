import { SECOND } from '../../base/index.ts'
import { atWords, countWords, defineDetector, FACTS_LIMIT } from './detector.ts'

/** Without a heartbeat for this long a node is dead; as in flows/nodes.ts. */
const DEAD_AFTER_MS = 5 * SECOND

interface GoneNode {
  readonly id: string
  readonly host: string
  readonly pid: number
  readonly roles: string
  readonly heartbeatAt: number
  /** Runs that are still its. */
  readonly runs: number
  /** Nodes that live. */
  readonly living: number
}

/**
 * A node fell silent without signing off, and none was started in its place since. A node that signs off stops within
 * a heartbeat of its last one; one that is declared dead has been silent for longer.
 */
export const nodesGone = defineDetector<GoneNode>({
  kind: 'node_gone',
  async facts({ client }) {
    const { rows } = await client.query<{
      id: string
      host: string
      pid: number
      roles: string
      heartbeat_at: Date
      runs: string
      living: string
    }>(
      `select n.id, n.host, n.pid, n.roles, n.heartbeat_at,
         (select count(*)::text from (select 1 from runs r where r.node_id = n.id and r.state in ('running', 'undoing') limit 1000) r) as runs,
         (select count(*)::text from nodes l where l.stopped_at is null and l.heartbeat_at > clock_timestamp() - $1 * interval '1 millisecond') as living
       from nodes n where coalesce(n.stopped_at, clock_timestamp()) - n.heartbeat_at >= $1 * interval '1 millisecond'
         and not exists (select 1 from nodes m where m.started_at > n.heartbeat_at and m.roles = n.roles)
       order by n.id limit ${FACTS_LIMIT}`,
      [DEAD_AFTER_MS],
    )
    return rows.map((row) => ({
      id: row.id,
      host: row.host,
      pid: row.pid,
      roles: row.roles,
      heartbeatAt: row.heartbeat_at.getTime(),
      runs: Number(row.runs),
      living: Number(row.living),
    }))
  },
  condition({ id, host, pid, roles, heartbeatAt, runs, living }) {
    return {
      subject: id,
      title: `A node on ${host} is gone`,
      what: `The node ${id} (${roles.replaceAll(',', ', ')}; ${host}, pid ${pid}) has not been heard of since ${atWords(heartbeatAt)} and did not sign off.`,
      since: heartbeatAt,
      holdsUp:
        runs > 0
          ? `${countWords(runs, 'run')} that it had ${runs === 1 ? 'is' : 'are'} taken over by another node.`
          : living > 0
            ? `Nothing: its runs were taken over. ${countWords(living, 'node')} ${living === 1 ? 'works' : 'work'}.`
            : 'No other node executes runs: nothing goes on until one is started.',
      todo: `Find out why it ended (out of memory, a flow that blocks it, the machine), and start one in its place: trestle serve. Where it is not to come back, this is over after an hour.`,
    }
  },
  over: 'A node was started in its place, or it was forgotten an hour after its runs were taken over.',
})
