import { durationWords, HOUR, MINUTE, reasonOf, SECOND, type Clock } from '../../base/index.ts'
import { missingMigrations, type Queryable } from '../../db/index.ts'
import { fail, ok, warn, type Finding } from './findings.ts'

const OLDEST_POSTGRES = 15
/** Dated signatures are refused beyond five minutes; a clock that is this far off is on its way there. */
const CLOCK_DIFFERENCE_MS = 5 * SECOND

interface ServerRow {
  readonly version: string
  readonly number: string
  readonly fsync: string
  readonly full_page_writes: string
  readonly synchronous_commit: string
  readonly now: Date
}

/** The server: version, whether it keeps what it commits, its clock, and our tables. */
export async function lookAtServer(
  client: Queryable,
  where: string,
  clock: Clock,
): Promise<readonly Finding[]> {
  const asked = clock.now()
  const { rows } = await client.query<ServerRow>(
    `select current_setting('server_version') as version, current_setting('server_version_num') as number, current_setting('fsync') as fsync,
       current_setting('full_page_writes') as full_page_writes, current_setting('synchronous_commit') as synchronous_commit, clock_timestamp() as now`,
  )
  const server = rows[0]!
  const apart = Math.abs(server.now.getTime() - (asked + clock.now()) / 2)
  return [
    Math.floor(Number(server.number) / 10_000) < OLDEST_POSTGRES
      ? fail(
          'Database',
          `PostgreSQL ${server.version}, ${where}`,
          `Use PostgreSQL ${OLDEST_POSTGRES} or newer.`,
        )
      : ok('Database', `PostgreSQL ${server.version}, ${where}`),
    durability(server),
    apart > CLOCK_DIFFERENCE_MS
      ? warn(
          'Clocks',
          `the database's differs by ${durationWords(apart)}`,
          'Synchronise the clocks of both machines (NTP).',
        )
      : ok('Clocks', 'this machine and the database agree'),
    await lookAtTables(client),
  ]
}

function durability(server: ServerRow): Finding {
  const off = (['fsync', 'full_page_writes', 'synchronous_commit'] as const).filter(
    (name) => server[name] === 'off',
  )
  return off.length === 0
    ? ok('Durability', 'fsync, full_page_writes and synchronous_commit are on')
    : fail(
        'Durability',
        `${off.join(' and ')} ${off.length === 1 ? 'is' : 'are'} off: a power cut can lose what was acknowledged`,
        `${off.map((name) => `alter system set ${name} = on`).join('; ')}; select pg_reload_conf()`,
      )
}

async function lookAtTables(client: Queryable): Promise<Finding> {
  const missing = await missingMigrations(client)
  return missing.length === 0
    ? ok('Tables', 'up to date')
    : warn(
        'Tables',
        `not set up yet: ${missing.join(', ')}`,
        'The next start does it: trestle dev, or trestle serve.',
      )
}

interface NodeRow {
  readonly id: string
  readonly host: string
  readonly pid: number
  readonly version: string
  readonly silent_ms: number
}

/** A node without a heartbeat for this long is dead; see flows/nodes.ts. */
const DEAD_AFTER_MS = 5 * SECOND

/** Which nodes work, and what was left by nodes that died. */
export async function lookAtNodes(client: Queryable, version: string): Promise<readonly Finding[]> {
  const { rows } = await client.query<NodeRow>(
    `select id, host, pid, version, (extract(epoch from clock_timestamp() - heartbeat_at) * 1000)::float8 as silent_ms
     from nodes where stopped_at is null order by id`,
  )
  const alive = rows.filter((node) => node.silent_ms <= DEAD_AFTER_MS)
  const dead = rows.length - alive.length
  const others = [...new Set(alive.map((node) => node.version))].filter((other) => other !== version)
  return [
    ok(
      'Workers',
      alive.length === 0 ? 'none is running' : alive.map((node) => `${node.host} pid ${node.pid}`).join(', '),
    ),
    ...(others.length > 0
      ? [
          warn(
            'Versions',
            `workers run ${others.join(', ')}, this is ${version}`,
            'Bring all nodes to one version.',
          ),
        ]
      : []),
    ...(dead > 0
      ? [
          warn(
            'Dead workers',
            `${dead} ended without signing off`,
            alive.length > 0
              ? 'Their runs are taken back within seconds; look again.'
              : 'Start one (trestle dev, trestle serve): it takes their runs back.',
          ),
        ]
      : []),
  ]
}

/** What waits for people, and whether work that is due is done. */
export async function lookAtWork(client: Queryable, clock: Clock): Promise<readonly Finding[]> {
  const counts = await client.query<{ held: string; dead: string; parked: string; late: Date | null }>(
    `select count(*) filter (where state = 'held')::text as held, count(*) filter (where state = 'dead_lettered')::text as dead,
       count(*) filter (where state = 'parked')::text as parked,
       min(due_at) filter (where state in ('queued', 'waiting', 'undoing') and not lane_open) as late
     from runs where state in ('held', 'dead_lettered', 'parked', 'queued', 'waiting', 'undoing')`,
  )
  const quarantined = await client.query<{ count: string }>(
    `select count(*)::text as count from quarantine where state = 'quarantined'`,
  )
  const { held = '0', dead = '0', parked = '0', late } = counts.rows[0] ?? {}
  const waiting: Finding[] = []
  const say = (count: string, what: string, found: string, todo: string): void => {
    if (count !== '0') waiting.push(warn(what, `${count} ${found}`, todo))
  }
  say(held, 'Held runs', 'wait for a person', 'trestle runs --state held')
  say(parked, 'Parked runs', 'wait for something outside', 'trestle runs --state parked')
  say(dead, 'Dead letters', 'gave up', 'trestle dead-letters')
  say(quarantined.rows[0]?.count ?? '0', 'Quarantine', 'kept back', 'trestle quarantine')
  const lateMs = late ? clock.now() - late.getTime() : 0
  if (lateMs > MINUTE)
    waiting.push(
      warn(
        'Backlog',
        `a run has been due for ${durationWords(lateMs)}`,
        'Start a worker, or more of them: trestle serve --role worker',
      ),
    )
  return waiting.length > 0 ? waiting : [ok('Work', 'nothing waits for a person')]
}

/** A block is sealed at most this late while a node runs. */
const SEAL_LIMIT_MS = 2 * MINUTE
const CHECKPOINT_OLD_MS = HOUR

/** Whether what is written to the ledger comes under signature. */
export async function lookAtLedger(
  client: Queryable,
  newest: { readonly number: number; readonly at: number } | undefined,
  clock: Clock,
): Promise<Finding> {
  const { rows } = await client.query<{
    entries: string
    since: Date | null
    last: string | null
    last_at: Date | null
  }>(
    `select coalesce(sum(entries), 0)::text as entries, min(at) as since,
       (select max(number)::text from ledger_blocks) as last, (select max(at) from ledger_blocks) as last_at
     from ledger_batches where block is null`,
  )
  const { entries = '0', since, last, last_at: lastAt } = rows[0] ?? {}
  const tail = since ? clock.now() - since.getTime() : 0
  if (tail > SEAL_LIMIT_MS)
    return warn(
      'Ledger',
      `${entries} entries have been in no signed block for ${durationWords(tail)}`,
      'They are sealed as soon as a node runs: trestle dev, or trestle serve. If one does, its log says why it cannot.',
    )
  const written = last === null || last === undefined ? 0 : Number(last)
  if (newest !== undefined && newest.number > written)
    return fail(
      'Ledger',
      `a checkpoint knows block ${newest.number}, but the database ends with ${written}: it was cut or is an older copy`,
      'Find out why, then: trestle audit verify',
    )
  if (
    newest !== undefined &&
    lastAt &&
    lastAt.getTime() - newest.at > CHECKPOINT_OLD_MS &&
    newest.number < written
  )
    return warn(
      'Ledger',
      `the newest checkpoint here is of block ${newest.number}, the database has ${written}`,
      'Other nodes keep theirs: collect all checkpoints.jsonl before you verify.',
    )
  return ok('Ledger', `${written} signed blocks, ${entries} entries not sealed yet`)
}

/** The database could not even be asked. */
export function databaseAway(error: unknown, isEmbedded: boolean): Finding {
  return fail(
    'Database',
    reasonOf(error),
    isEmbedded
      ? 'See .trestle/postgres/postgres.log; with DATABASE_URL set, another PostgreSQL is used.'
      : 'Check DATABASE_URL, and that the server runs and lets this machine in.',
  )
}
