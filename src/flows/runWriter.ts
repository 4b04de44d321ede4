import { crashPoint, encodeJson, pause, RetryableError, type Clock, type Id } from '../base/index.ts'
import {
  createGroupCommit,
  tenantsApart,
  transaction,
  type Database,
  type Queryable,
  isConflict,
  isDatabaseError,
  isDataError,
} from '../db/index.ts'
import type { AttemptState } from '../define/index.ts'
import type { RunRef } from '../dispatch/index.ts'
import type { LedgerEntry } from '../ledger/index.ts'
import { landing, moveEntries } from './landing.ts'
import type { ClaimedRun, JournalRow, PendingStep, RunMove } from './run.ts'
import { noteEvents } from './stale.ts'

/** What one execution wants to write at once: all of it, or nothing where the run was taken from it. */
export interface RunWrite {
  readonly run: RunRef & Pick<ClaimedRun, 'flow'>
  readonly node: string
  readonly fence: string
  readonly journal?: JournalRow
  readonly attempt?: AttemptWrite
  readonly quarantine?: QuarantineWrite
  /** The run's waits as they are now, where it is not moved. */
  readonly waits?: readonly PendingStep[]
  readonly move?: RunMove
  /** The version of the flow that wrote this, where the run began with another one. */
  readonly flowVersion?: number
  /** Besides the move's own, which are written with it. */
  readonly entries: readonly LedgerEntry[]
}

export interface AttemptWrite {
  readonly id: Id<'att'>
  readonly name: string
  readonly ordinal: number
  readonly number: number
  readonly connectionId: string
  readonly operation: string
  readonly generation: number
  readonly idempotencyKey: string
  readonly request: Buffer | undefined
  /** `undefined`: begun, and committed before anything leaves. */
  readonly state: AttemptState | undefined
  readonly status: number | undefined
  readonly code: string | undefined
  readonly reason: string | undefined
  /** The beginning of the provider's answer, where the attempt failed. */
  readonly excerpt: string | undefined
  readonly begunAt: number
  readonly finishedAt: number | undefined
}

export interface QuarantineWrite {
  readonly id: Id<'qrn'>
  readonly connectionId: string
  readonly name: string
  readonly ordinal: number
  readonly operation: string
  readonly path: string
  readonly reason: string
  readonly payload: Buffer
}

/**
 * - `written`: committed.
 * - `cancelling`: committed, and an operator wants the run undone.
 * - `fenced`: the run was taken from this execution; nothing was written and nothing further counts.
 */
export type RunWriteAnswer = 'written' | 'cancelling' | 'fenced'

export interface RunWriter {
  /** Resolves once committed. While the database is away it tries again: what happened must not be forgotten. */
  write(write: RunWrite): Promise<RunWriteAnswer>
  drain(): Promise<void>
}

interface Item extends RunWrite {
  /** An earlier try ended without an answer: its rows may be there already. */
  readonly repeated: boolean
}

const RETRY_MS = 200

interface RunWriterOptions {
  readonly database: Database
  readonly clock: Clock
  readonly writeEntries: (client: Queryable, entries: readonly LedgerEntry[]) => Promise<void>
}

export function createRunWriter(options: RunWriterOptions): RunWriter {
  const commit = createGroupCommit<Item, RunWriteAnswer>({
    key: (item) => item.run.tenant + item.run.id,
    apart: tenantsApart(options.database, (item) => item.run.tenant),
    bytes: (item) =>
      (item.journal?.result?.length ?? 0) +
      (item.journal?.undo?.length ?? 0) +
      (item.quarantine?.payload.length ?? 0) +
      (item.attempt?.request?.length ?? 0),
    flush: (batch) => transaction(options.database.pool, (client) => writeBatch(client, batch, options)),
  })
  return {
    async write(write) {
      for (let repeated = false; ; repeated = true) {
        try {
          const answer = await commit.add({ ...write, repeated })
          crashPoint('writes.committed')
          return answer
        } catch (error) {
          if (!mayPass(error)) throw error
          await pause(options.clock, RETRY_MS)
        }
      }
    },
    drain: () => commit.drain(),
  }
}

/** Every fault of the database but one of the data itself: what happened must not be forgotten for it. */
function mayPass(error: unknown): boolean {
  return (
    error instanceof RetryableError || isConflict(error) || (isDatabaseError(error) && !isDataError(error))
  )
}

interface LockedRun {
  readonly fence: string
  readonly node_id: string | null
  readonly undo_to: string | null
  readonly state: string
  readonly reason_code: string | null
  readonly reason: string | null
}

/** One transaction: lock the runs in order → drop what is fenced → journal, attempts, quarantine, moves, ledger. */
async function writeBatch(
  client: Queryable,
  batch: readonly Item[],
  { clock, writeEntries }: RunWriterOptions,
): Promise<RunWriteAnswer[]> {
  const locked = await lockRuns(client, batch)
  const rowOf = (item: Item): LockedRun | undefined => locked.get(refKey(item.run))
  const answers = batch.map((item) => answerTo(item, rowOf(item)))
  const valid = batch.filter((_, i) => answers[i] !== 'fenced')
  const there = await alreadyThere(
    client,
    valid.filter((item) => item.repeated),
    rowOf,
  )
  const now = clock.now()
  const kept = valid
    .filter((item) => !there.has(item))
    .map((item) => (item.move ? { ...item, move: landing(item.move, rowOf(item)!, now) } : item))
  const entries = kept.flatMap((item) => [
    ...item.entries,
    ...(item.move ? moveEntries(item.run, item.move, now, rowOf(item)!.state) : []),
  ])
  await Promise.all([
    insertJournal(client, kept),
    upsertAttempts(client, kept),
    closeForgottenAttempts(client, kept),
    insertQuarantined(client, kept),
    keepWaits(client, kept),
    moveRuns(client, kept),
    stampVersions(client, kept),
    writeWaits(client, kept),
    noteEvents(client, kept),
    entries.length > 0 ? writeEntries(client, entries) : undefined,
  ])
  crashPoint('writes.before_commit')
  return answers
}

function answerTo(item: Item, run: LockedRun | undefined): RunWriteAnswer {
  if (!run || run.fence !== item.fence || run.node_id !== item.node) return 'fenced'
  return run.undo_to !== null && run.state === 'running' ? 'cancelling' : 'written'
}

/** Locked in id order by everybody, so that a zombie's write cannot slip past an uncommitted rescue. */
async function lockRuns(client: Queryable, batch: readonly Item[]): Promise<ReadonlyMap<string, LockedRun>> {
  const refs = distinctRefs(batch)
  const { rows } = await client.query<LockedRun & { tenant: string; id: string }>({
    name: 'lock_runs',
    text: `select r.tenant, r.id, r.fence, r.node_id, r.undo_to, r.state, r.reason_code, r.reason
      from (select tenant, id from unnest($1::text[], $2::text[]) as w(tenant, id) order by tenant, id) w
      cross join lateral (
        select r.* from runs r where r.tenant = w.tenant and r.id = w.id for no key update of r) r`,
    values: [refs.map((ref) => ref.tenant), refs.map((ref) => ref.id)],
  })
  return new Map(rows.map((row) => [refKey(row), row]))
}

function distinctRefs(batch: readonly Item[]): RunRef[] {
  return [...new Map(batch.map((item) => [refKey(item.run), item.run])).values()]
}

function refKey(run: { readonly tenant: string; readonly id: string }): string {
  return `${run.tenant} ${run.id}`
}

/** Those of which an earlier try was committed, although nobody heard of it: they are in the ledger already. */
async function alreadyThere(
  client: Queryable,
  repeated: readonly Item[],
  rowOf: (item: Item) => LockedRun | undefined,
): Promise<ReadonlySet<Item>> {
  const found = new Set<Item>()
  for (const item of repeated) if (await isThere(client, item, rowOf(item)!)) found.add(item)
  return found
}

async function isThere(
  client: Queryable,
  { run, journal, attempt, move }: Item,
  row: LockedRun,
): Promise<boolean> {
  if (journal) {
    const { rows } = await client.query(
      'select 1 from journal where tenant = $1 and run_id = $2 and name = $3 and ordinal = $4',
      [run.tenant, run.id, journal.name, journal.ordinal],
    )
    return rows.length > 0
  }
  if (attempt) {
    const { rows } = await client.query(
      `select 1 from attempts where tenant = $1 and run_id = $2 and name = $3 and ordinal = $4 and number = $5 and id = $6
         and state is not distinct from $7`,
      [run.tenant, run.id, attempt.name, attempt.ordinal, attempt.number, attempt.id, attempt.state ?? null],
    )
    return rows.length > 0
  }
  // Every other move ends the claim, and fences what is repeated.
  return move?.keepsClaim === true && row.state === move.to
}

async function insertJournal(client: Queryable, batch: readonly Item[]): Promise<void> {
  const rows = batch.flatMap((item) => (item.journal ? [{ run: item.run, row: item.journal }] : []))
  if (rows.length === 0) return
  await client.query({
    name: 'insert_journal',
    text: `insert into journal (tenant, run_id, seq, kind, name, ordinal, connection_id, operation, input_digest, outcome, result, error_code, error, undo, summary, finished_at)
      select * from unnest($1::text[], $2::text[], $3::int[], $4::text[], $5::text[], $6::int[], $7::text[], $8::text[], $9::bytea[], $10::text[], $11::bytea[], $12::text[], $13::text[], $14::bytea[], $15::text[], $16::timestamptz[])`,
    values: [
      rows.map(({ run }) => run.tenant),
      rows.map(({ run }) => run.id),
      rows.map(({ row }) => row.seq),
      rows.map(({ row }) => row.kind),
      rows.map(({ row }) => row.name),
      rows.map(({ row }) => row.ordinal),
      rows.map(({ row }) => row.connectionId ?? null),
      rows.map(({ row }) => row.operation ?? null),
      rows.map(({ row }) => row.inputDigest ?? null),
      rows.map(({ row }) => row.outcome),
      rows.map(({ row }) => row.result ?? null),
      rows.map(({ row }) => row.errorCode ?? null),
      rows.map(({ row }) => textOrNull(row.error)),
      rows.map(({ row }) => row.undo ?? null),
      rows.map(({ row }) => textOrNull(row.summary)),
      rows.map(({ row }) => new Date(row.finishedAt)),
    ],
  })
}

async function upsertAttempts(client: Queryable, batch: readonly Item[]): Promise<void> {
  const rows = batch.flatMap((item) => (item.attempt ? [{ run: item.run, row: item.attempt }] : []))
  if (rows.length === 0) return
  await client.query({
    name: 'upsert_attempts',
    text: `insert into attempts (tenant, run_id, name, ordinal, number, id, connection_id, operation, generation, idempotency_key, request, state, status, code, reason, begun_at, finished_at, excerpt)
      select * from unnest($1::text[], $2::text[], $3::text[], $4::int[], $5::int[], $6::text[], $7::text[], $8::text[], $9::int[], $10::text[], $11::bytea[], $12::text[], $13::int[], $14::text[], $15::text[], $16::timestamptz[], $17::timestamptz[], $18::text[])
      on conflict (tenant, run_id, name, ordinal, number) do update set state = excluded.state, status = excluded.status,
        code = excluded.code, reason = excluded.reason, excerpt = excluded.excerpt, finished_at = excluded.finished_at, request = coalesce(excluded.request, attempts.request)`,
    values: [
      rows.map(({ run }) => run.tenant),
      rows.map(({ run }) => run.id),
      rows.map(({ row }) => row.name),
      rows.map(({ row }) => row.ordinal),
      rows.map(({ row }) => row.number),
      rows.map(({ row }) => row.id),
      rows.map(({ row }) => row.connectionId),
      rows.map(({ row }) => row.operation),
      rows.map(({ row }) => row.generation),
      rows.map(({ row }) => row.idempotencyKey),
      rows.map(({ row }) => row.request ?? null),
      rows.map(({ row }) => row.state ?? null),
      rows.map(({ row }) => row.status ?? null),
      rows.map(({ row }) => row.code ?? null),
      rows.map(({ row }) => textOrNull(row.reason)),
      rows.map(({ row }) => new Date(row.begunAt)),
      rows.map(({ row }) => (row.finishedAt === undefined ? null : new Date(row.finishedAt))),
      rows.map(({ row }) => textOrNull(row.excerpt)),
    ],
  })
}

/** Earlier attempts of which nobody wrote the outcome, because their node died, are closed as in doubt. */
async function closeForgottenAttempts(client: Queryable, batch: readonly Item[]): Promise<void> {
  for (const { run, attempt } of batch) {
    if (!attempt || attempt.number === 1 || attempt.state === undefined) continue
    await client.query(
      `update attempts set state = 'in_doubt', code = 'node_died', reason = 'The node died before the outcome was known.', finished_at = now()
       where tenant = $1 and run_id = $2 and name = $3 and ordinal = $4 and number < $5 and state is null`,
      [run.tenant, run.id, attempt.name, attempt.ordinal, attempt.number],
    )
  }
}

async function insertQuarantined(client: Queryable, batch: readonly Item[]): Promise<void> {
  for (const item of batch) {
    if (!item.quarantine) continue
    const { id, connectionId, name, ordinal, operation, path, reason, payload } = item.quarantine
    await client.query(
      `insert into quarantine (tenant, id, kind, connection_id, run_id, step_name, step_ordinal, operation, path, reason, payload)
       values ($1, $2, 'answer', $3, $4, $5, $6, $7, $8, $9, $10) on conflict do nothing`,
      [
        item.run.tenant,
        id,
        connectionId,
        item.run.id,
        name,
        ordinal,
        operation,
        textOrNull(path) ?? '',
        textOrNull(reason),
        payload,
      ],
    )
  }
}

/** After a failed attempt: what the run waits for, should its node die before it is suspended. */
async function keepWaits(client: Queryable, batch: readonly Item[]): Promise<void> {
  for (const { run, waits, move } of batch) {
    if (!waits || move) continue
    await client.query('update runs set waits = $3 where tenant = $1 and id = $2', [
      run.tenant,
      run.id,
      encodeJson(waits),
    ])
  }
}

/** `claims` goes back to 0: the run settled by itself. */
async function moveRuns(client: Queryable, batch: readonly Item[]): Promise<void> {
  const rows = batch.flatMap((item) => (item.move ? [{ run: item.run, move: item.move }] : []))
  if (rows.length === 0) return
  await client.query({
    name: 'move_runs',
    text: `update runs r set state = u.state, due_at = u.due_at,
        waits = u.waits, parked_for = u.parked_for, undo_to = coalesce(u.undo_to, r.undo_to), reason_code = u.reason_code, reason = u.reason, failed_step = u.failed_step,
        result = coalesce(u.result, r.result), lane_open = r.lane_open and u.holds_lane,
        node_id = case when u.keeps_claim then r.node_id end, claims = case when u.keeps_claim then r.claims when r.claims >= 5 then 1 else 0 end,
        finished_at = case when u.finished then now() end, updated_at = now()
      from unnest($1::text[], $2::text[], $3::text[], $4::timestamptz[], $5::text[], $6::text[], $7::text[], $8::text[], $9::bytea[], $10::boolean[], $11::boolean[], $12::boolean[], $13::text[], $14::text[])
        as u(tenant, id, state, due_at, waits, undo_to, reason_code, reason, result, holds_lane, keeps_claim, finished, failed_step, parked_for)
      where r.tenant = u.tenant and r.id = u.id`,
    values: [
      rows.map(({ run }) => run.tenant),
      rows.map(({ run }) => run.id),
      rows.map(({ move }) => move.to),
      rows.map(({ move }) => (move.dueAt === undefined ? null : new Date(move.dueAt))),
      rows.map(({ move }) => (move.pending.length === 0 ? null : encodeJson(move.pending))),
      rows.map(({ move }) => move.undoTo ?? null),
      rows.map(({ move }) => move.reasonCode ?? null),
      rows.map(({ move }) => textOrNull(move.reason)),
      rows.map(({ move }) => move.result ?? null),
      rows.map(({ move }) => move.holdsLane),
      rows.map(({ move }) => move.keepsClaim),
      rows.map(({ move }) => isEnd(move)),
      rows.map(({ move }) => textOrNull(move.failedStep)),
      rows.map(({ move }) => move.parkedFor ?? null),
    ],
  })
}

/** The run goes on with the version that wrote last: an older one does not know its steps. */
async function stampVersions(client: Queryable, batch: readonly Item[]): Promise<void> {
  const rows = batch.filter((item) => item.flowVersion !== undefined)
  if (rows.length === 0) return
  await client.query({
    name: 'stamp_versions',
    text: `update runs r set flow_version = u.version from unnest($1::text[], $2::text[], $3::int[]) as u(tenant, id, version)
      where r.tenant = u.tenant and r.id = u.id and r.flow_version <> u.version`,
    values: [
      rows.map(({ run }) => run.tenant),
      rows.map(({ run }) => run.id),
      rows.map((item) => item.flowVersion),
    ],
  })
}

function isEnd(move: RunMove): boolean {
  return (
    move.to === 'succeeded' || move.to === 'undone' || move.to === 'dead_lettered' || move.to === 'cancelled'
  )
}

/** Keeps the index of what suspended runs wait for: a row a wait, from its run's suspension until its result. */
async function writeWaits(client: Queryable, batch: readonly Item[]): Promise<void> {
  for (const { run, journal, move } of batch) {
    if (journal?.kind === 'wait')
      await client.query(
        'delete from waits where tenant = $1 and run_id = $2 and name = $3 and ordinal = $4',
        [run.tenant, run.id, journal.name, journal.ordinal],
      )
    if (move?.clearsWaits)
      await client.query('delete from waits where tenant = $1 and run_id = $2', [run.tenant, run.id])
    const waits = (move?.pending ?? []).filter((step) => step.kind === 'wait')
    if (waits.length === 0) continue
    await client.query(
      `insert into waits (tenant, run_id, name, ordinal, connector, connection_id, type, field, value, since)
       select $1, $2, u.*, now() from unnest($3::text[], $4::int[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[]) as u
       on conflict (tenant, run_id, name, ordinal) do nothing`,
      [
        run.tenant,
        run.id,
        waits.map((wait) => wait.name),
        waits.map((wait) => wait.ordinal),
        waits.map((wait) => wait.connector),
        waits.map((wait) => wait.connection ?? null),
        waits.map((wait) => wait.type),
        waits.map((wait) => wait.field),
        waits.map((wait) => wait.value),
      ],
    )
  }
}

/** PostgreSQL's text type refuses \u0000, and a provider's reason may hold one. */
function textOrNull(text: string | undefined): string | null {
  return text === undefined ? null : text.replaceAll('\u0000', '\\u0000').toWellFormed()
}
