import { MINUTE, type Clock } from '../base/index.ts'
import type { Rejection } from './endpoint.ts'

/** Runs one SQL statement, as a pool does. */
type RunStatement = (statement: string, values: unknown[]) => Promise<unknown>

export interface RejectionCounterOptions {
  readonly clock: Clock
  readonly query: RunStatement
  /** Told when a flush failed. The counts are kept and tried again. */
  readonly onFault: (fault: unknown) => void
  /** Default 10 s. */
  readonly flushEveryMs?: number
}

/**
 * Counts refused deliveries per endpoint, minute and reason, and keeps the newest few of each reason as samples,
 * so that a flood of forgeries costs a few rows and hides nothing. Requests to unknown paths have no endpoint to
 * be counted under and are left out.
 */
export interface RejectionCounter {
  count(rejection: Rejection): void
  /** Writes what was counted since the last time. */
  flush(): Promise<void>
  /** Flushes once more and ends. May be called twice. */
  stop(): Promise<void>
}

/**
 * The reasons of which samples are kept, ten slots each: 100 per endpoint. Of a 503 there is none, since the
 * sender brings it again and it may even have been stored.
 */
const SAMPLED_REASONS: readonly string[] = [
  'signature_missing',
  'signature_malformed',
  'signature_invalid',
  'timestamp_outside_tolerance',
  'content_type_unsupported',
  'content_encoding_unsupported',
  'body_too_large',
  'headers_too_large',
  'receive_timeout',
  'method_not_allowed',
]
const SLOTS_PER_REASON = 10
export const SAMPLE_BODY_BYTES = 64 * 1024
/** Counts held while the database is away; beyond it they are kept by the hour instead of by the minute. */
const FINE_COUNTS = 10_000
/** Samples held in memory between two flushes, over all endpoints. Further ones are counted only. */
const SAMPLES_HELD = 1000
const COUNTS_PER_STATEMENT = 500
const SAMPLES_PER_STATEMENT = 50

interface Count {
  readonly tenant: string
  readonly endpointId: string
  readonly minute: number
  readonly reason: string
  count: number
}

interface Sample {
  readonly tenant: string
  readonly endpointId: string
  readonly slot: number
  readonly reason: string
  readonly headers: Buffer
  readonly body: Buffer
  readonly receivedAt: number
}

export function createRejectionCounter(options: RejectionCounterOptions): RejectionCounter {
  const { clock, query, onFault, flushEveryMs = 10_000 } = options
  let counts = new Map<string, Count>()
  let samples = new Map<string, Sample>()
  const sampled = new Map<string, number>()
  let stopped = false
  let flushing: Promise<void> | undefined
  let cancel = clock.after(flushEveryMs, tick)

  function tick(): void {
    void flush().finally(() => {
      if (!stopped) cancel = clock.after(flushEveryMs, tick)
    })
  }

  function count(rejection: Rejection): void {
    if (rejection.endpoint === undefined) return
    addCount(counts, countOf(rejection, counts.size < FINE_COUNTS ? MINUTE : 60 * MINUTE))
    const base = SAMPLED_REASONS.indexOf(rejection.code)
    if (base === -1) return
    const { tenant, id } = rejection.endpoint
    const series = keyOf(tenant, id, rejection.code)
    const turn = sampled.get(series) ?? 0
    sampled.set(series, turn + 1)
    const slot = base * SLOTS_PER_REASON + (turn % SLOTS_PER_REASON)
    const key = keyOf(tenant, id, slot)
    if (samples.size < SAMPLES_HELD || samples.has(key))
      samples.set(key, sampleOf(rejection, tenant, id, slot))
  }

  function flush(): Promise<void> {
    flushing = (flushing ?? Promise.resolve()).then(writeAll)
    return flushing
  }

  /** What could not be written is put back beside what came meanwhile. It never rejects. */
  async function writeAll(): Promise<void> {
    const counted = counts
    const taken = samples
    counts = new Map()
    samples = new Map()
    try {
      for (const rows of inBatches(counted, COUNTS_PER_STATEMENT)) {
        await writeCounts(query, rows)
        for (const row of rows) counted.delete(keyOfCount(row))
      }
      for (const rows of inBatches(taken, SAMPLES_PER_STATEMENT)) await writeSamples(query, rows)
    } catch (fault) {
      for (const one of counted.values()) addCount(counts, one)
      for (const [key, one] of taken) if (!samples.has(key)) samples.set(key, one)
      onFault(fault)
    }
  }

  async function stop(): Promise<void> {
    stopped = true
    cancel()
    await flush()
  }

  return { count, flush, stop }
}

function countOf(rejection: Rejection, unitMs: number): Count {
  return {
    tenant: rejection.endpoint!.tenant,
    endpointId: rejection.endpoint!.id,
    minute: Math.floor(rejection.receivedAt / unitMs) * unitMs,
    reason: rejection.code,
    count: 1,
  }
}

function addCount(counts: Map<string, Count>, added: Count): void {
  const key = keyOfCount(added)
  const known = counts.get(key)
  if (known) known.count += added.count
  else counts.set(key, added)
}

function keyOfCount({ tenant, endpointId, minute, reason }: Count): string {
  return keyOf(tenant, endpointId, minute, reason)
}

function keyOf(...parts: (string | number)[]): string {
  return parts.join('\0')
}

function sampleOf(rejection: Rejection, tenant: string, endpointId: string, slot: number): Sample {
  const { body } = rejection
  return {
    tenant,
    endpointId,
    slot,
    reason: rejection.code,
    headers: Buffer.from(JSON.stringify(rejection.headers)),
    // A copy where it is cut, so that the whole body is not kept in memory by its beginning.
    body: body.length > SAMPLE_BODY_BYTES ? Buffer.from(body.subarray(0, SAMPLE_BODY_BYTES)) : body,
    receivedAt: rejection.receivedAt,
  }
}

/** Sorted by key, as every batch is that may meet another one in the database. */
function* inBatches<Row>(rows: ReadonlyMap<string, Row>, size: number): Generator<Row[]> {
  const sorted = [...rows].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, row]) => row)
  for (let at = 0; at < sorted.length; at += size) yield sorted.slice(at, at + size)
}

/** A flush whose commit was not answered is written again, and then counts twice: these are counts, not money. */
async function writeCounts(query: RunStatement, rows: readonly Count[]): Promise<void> {
  const values = rows.flatMap((row) => [
    row.tenant,
    row.endpointId,
    new Date(row.minute),
    row.reason,
    row.count,
  ])
  await query(
    `insert into rejected_counts (tenant, endpoint_id, minute, reason, count)
     values ${placeholders(rows.length, ['text', 'text', 'timestamptz', 'text', 'bigint'])}
     on conflict (tenant, endpoint_id, minute, reason)
     do update set count = rejected_counts.count + excluded.count`,
    values,
  )
}

async function writeSamples(query: RunStatement, rows: readonly Sample[]): Promise<void> {
  const values = rows.flatMap((row) => [
    row.tenant,
    row.endpointId,
    row.slot,
    row.reason,
    row.headers,
    row.body,
    new Date(row.receivedAt),
  ])
  await query(
    `insert into rejected_samples (tenant, endpoint_id, slot, reason, headers, body, received_at)
     values ${placeholders(rows.length, ['text', 'text', 'integer', 'text', 'bytea', 'bytea', 'timestamptz'])}
     on conflict (tenant, endpoint_id, slot)
     do update set reason = excluded.reason, headers = excluded.headers, body = excluded.body,
                   received_at = excluded.received_at`,
    values,
  )
}

function placeholders(rows: number, types: readonly string[]): string {
  return Array.from(
    { length: rows },
    (_, row) => `(${types.map((type, i) => `$${row * types.length + i + 1}::${type}`).join(', ')})`,
  ).join(', ')
}
