import { createHash } from 'node:crypto'
import { codeOf, MINUTE, newId, reasonOf, SECOND, TrestleError } from '../base/index.ts'
import type { CallConnection, CallOutcome } from '../calls/index.ts'
import { asUnavailable, type Queryable } from '../db/index.ts'
import type { PollAsk } from '../define/index.ts'
import { EVENTS_PER_DELIVERY, knownEvents, type VerifiedDelivery } from '../inbox/index.ts'
import type { LedgerEntry } from '../ledger/index.ts'
import { nextAttempt } from '../resilience/index.ts'
import type { DeclaredPoll } from './declared.ts'
import { readPage, type PageRead } from './page.ts'
import { claim, fenced, release, type Claim, type PollDeps } from './pollClaim.ts'
import { askOf, behind, type Moved, type Position } from './position.ts'

/** Pages that one poll reads before others have their turn; it goes on at the next look. */
export const PAGES_AT_ONCE = 100
/** When a poll looks again that waits for a person, or for the provider's return. */
const PARKED_RECHECK_MS = 5 * MINUTE
const RETRY_CAP_MS = 15 * MINUTE

/**
 * Reads a list that is due, page by page, each page committed with its events, the cursor behind it and its ledger
 * entry. Where it ends early it goes on from the last committed page.
 */
export async function pollDue(poll: DeclaredPoll, deps: PollDeps): Promise<void> {
  const claimed = await claim(poll, deps)
  if (claimed === undefined) return
  try {
    await readPages(poll, claimed.position, claimed.claim, deps)
  } catch (error) {
    // Whatever it is, the provider is not asked again every second for it.
    if (!asUnavailable(error)) {
      const why = { code: codeOf(error, 'poll_faulted'), reason: reasonOf(error), retryable: true }
      await waitFor(poll, claimed.claim, why, deps, 1)
    }
    throw error
  }
}

async function readPages(poll: DeclaredPoll, from: Position, held: Claim, deps: PollDeps): Promise<void> {
  let position = from
  for (let page = 1; ; page++) {
    const read = await readNext(poll, position, page === 1 ? held : { ...held, waited: false }, deps)
    if (read === undefined) return
    position = read.position
    if (!read.more) return
    if (page >= PAGES_AT_ONCE || deps.stopping()) return release(poll, held, deps)
  }
}

/** Reads one page and commits what came of it. `undefined`: the poll is over for now. */
async function readNext(
  poll: DeclaredPoll,
  position: Position,
  held: Claim,
  deps: PollDeps,
): Promise<Moved | undefined> {
  const ask = askOf(position, poll.trigger.overlapMs)
  const askedAt = deps.clock.now()
  const asked = await askProvider(poll, ask, held, deps)
  if (asked.as === 'unasked') return waitFor(poll, held, { ...asked, retryable: false }, deps)
  const { outcome, connection } = asked
  switch (outcome.as) {
    case 'succeeded':
      return judge(poll, { position, ask, askedAt, outcome, connection }, held, deps)
    case 'quarantined':
      return keepPage(
        poll,
        { ...outcome, code: 'contract_broken', body: outcome.payload },
        connection,
        held,
        deps,
      )
    case 'deferred':
      return waitFor(poll, held, { ...outcome, retryable: true, at: outcome.until }, deps)
    case 'parked':
      return waitFor(
        poll,
        held,
        { ...outcome, retryable: true, at: deps.clock.now() + PARKED_RECHECK_MS },
        deps,
      )
    case 'failed':
      return failed(poll, { ...outcome, connection }, held, deps)
    case 'in_doubt':
      return failed(poll, { ...outcome, retryable: true, connection }, held, deps)
    case 'not_found':
      return failed(
        poll,
        {
          code: 'answer_unexpected',
          reason: 'A list was answered as a look-up.',
          retryable: false,
          connection,
        },
        held,
        deps,
      )
  }
}

type Asked =
  | { readonly as: 'asked'; readonly outcome: CallOutcome; readonly connection: CallConnection }
  | { readonly as: 'unasked'; readonly code: string; readonly reason: string }

/** One call through the ordinary pipeline: breaker, budget, vault, egress, contract. */
async function askProvider(
  { name, trigger, priority }: DeclaredPoll,
  ask: PollAsk,
  { promisedAt, waited }: Claim,
  deps: PollDeps,
): Promise<Asked> {
  const { tenant, clock, connectorNamed, connectionFor } = deps
  let connection: CallConnection
  let input: unknown
  try {
    connection = await connectionFor(tenant, connectorNamed(trigger.connector)!, trigger.connection)
  } catch (error) {
    if (!(error instanceof TrestleError)) throw error
    return { as: 'unasked', code: error.code, reason: error.message }
  }
  try {
    input = trigger.source.input(ask)
  } catch (error) {
    const reason = `"input" of the poll's source threw: ${reasonOf(error)}`
    return { as: 'unasked', code: codeOf(error, 'source_threw'), reason }
  }
  const outcome = await deps.call({
    tenant,
    connection,
    operationName: trigger.operationName,
    operation: trigger.source.operation,
    input,
    idempotencyKey: newId('att'),
    begunAt: clock.now(),
    runId: '',
    flow: name,
    priority,
    ...(promisedAt === undefined ? {} : { promisedAt }),
    ...(waited ? { waited } : {}),
    stepName: `poll ${name}`,
    attempt: 1,
    kind: 'send',
  })
  return { as: 'asked', outcome, connection }
}

interface Answered {
  readonly position: Position
  readonly ask: PollAsk
  readonly askedAt: number
  readonly outcome: Extract<CallOutcome, { as: 'succeeded' }>
  readonly connection: CallConnection
}

async function judge(
  poll: DeclaredPoll,
  answered: Answered,
  held: Claim,
  deps: PollDeps,
): Promise<Moved | undefined> {
  const { ask, askedAt, outcome, connection, position } = answered
  const body = outcome.body ?? Buffer.alloc(0)
  const page = readPage(poll, { body, output: outcome.output }, ask)
  const { exchange } = outcome
  if (page.as === 'refused') return keepPage(poll, { ...page, body, exchange }, connection, held, deps)
  if (page.events.length > EVENTS_PER_DELIVERY) {
    const reason = `The page has ${page.events.length} items; at most ${EVENTS_PER_DELIVERY} are taken from one. Ask for smaller pages.`
    return keepPage(
      poll,
      { code: 'page_too_large', path: '', reason, body, exchange },
      connection,
      held,
      deps,
    )
  }
  const { times, next } = page
  const moved = behind(position, { ask, times, next, askedAt, now: deps.clock.now() }, poll.trigger.source)
  return commitPage(poll, { ...answered, page, body, moved }, held, deps)
}

/** One transaction: the page as a delivery, its new items as events with their runs, the position behind it, the entry. */
async function commitPage(
  poll: DeclaredPoll,
  { ask, outcome, connection, page, body, moved }: Answered & { page: PageRead; body: Buffer; moved: Moved },
  held: Claim,
  deps: PollDeps,
): Promise<Moved | undefined> {
  const { tenant, clock } = deps
  const now = clock.now()
  return fenced(poll, held, deps, async (client) => {
    const known = await knownEvents(
      client,
      { tenant, id: connection.id },
      page.events.flatMap((event) => event.id ?? []),
    )
    const fresh = page.events.filter((event) => !known.has(event.id!))
    // A page of nothing new is not kept: its items are in deliveries that were.
    const accepted =
      fresh.length === 0
        ? undefined
        : await deps.acceptWithin(client, {
            ...deliveryOf(connection, body, { tenant, now }, deps),
            parsed: page.parsed,
            events: fresh,
          })
    if (held.stuck) await settleStuck(client, held.stuck.delivery, deps)
    await client.query(
      `update schedules set position = $3, failures = 0, error_code = null, error = null, stuck_delivery = null, stuck_digest = null,
         done_at = $4, due_at = $5, node_id = case when $6 then node_id end, updated_at = now()
       where tenant = $1 and name = $2`,
      [
        tenant,
        poll.name,
        JSON.stringify(moved.position),
        new Date(now),
        new Date(moved.more ? now : now + poll.trigger.everyMs),
        moved.more,
      ],
    )
    await deps.writeEntries(client, [
      polledEntry(poll, 'succeeded', connection, deps, {
        ask,
        items: page.events.length,
        known: known.size,
        events: fresh.length,
        ...(accepted && { delivery: accepted.deliveryId }),
        cursor: moved.position.cursor,
        more: moved.more,
        exchange: outcome.exchange,
      }),
    ])
    return moved
  })
}

interface Kept {
  readonly code: string
  readonly path: string
  readonly reason: string
  readonly body: Buffer
  readonly exchange?: unknown
}

/**
 * A page that cannot be trusted: it is kept raw, quarantined with its path, once; the cursor stays before it, and it is
 * asked for again.
 */
async function keepPage(
  poll: DeclaredPoll,
  { code, path, reason, body, exchange }: Kept,
  connection: CallConnection,
  held: Claim,
  deps: PollDeps,
): Promise<undefined> {
  const { tenant, clock } = deps
  const now = clock.now()
  const digest = createHash('sha256').update(body).update(code).update(path).digest()
  const same = held.stuck?.digest.equals(digest) === true
  const words = `The page of ${poll.trigger.operationName} cannot be read at ${path === '' ? 'its root' : path}: ${reason} The poll stays before it and asks again; it goes on once the page can be read.`
  await fenced(poll, held, deps, async (client) => {
    if (held.stuck && !same) await settleStuck(client, held.stuck.delivery, deps)
    const accepted = same
      ? undefined
      : await deps.acceptWithin(client, {
          ...deliveryOf(connection, body, { tenant, now }, deps),
          events: [],
          quarantine: { code, path, reason: words },
        })
    const delivery = accepted?.deliveryId ?? held.stuck!.delivery
    await fail(client, poll, { code, reason: words, at: now + poll.trigger.everyMs }, held, deps)
    await client.query(
      'update schedules set stuck_delivery = $3, stuck_digest = $4 where tenant = $1 and name = $2',
      [tenant, poll.name, delivery, digest],
    )
    await deps.writeEntries(client, [
      polledEntry(poll, 'quarantined', connection, deps, { code, path, reason, delivery, exchange }),
    ])
  })
}

/** The page can be read now, or is another one: what was kept of it waits for nobody any more. */
async function settleStuck(
  client: Queryable,
  delivery: string,
  { tenant, clock, writeEntries }: PollDeps,
): Promise<void> {
  const { rows } = await client.query<{ id: string; event_id: string }>(
    `update quarantine q set state = 'discarded', settled_at = now(), settled_by = 'system' from events e
     where q.tenant = $1 and e.tenant = $1 and e.delivery_id = $2 and q.event_id = e.id and q.state = 'quarantined'
     returning q.id, q.event_id`,
    [tenant, delivery],
  )
  for (const { id, event_id: event } of rows) {
    await client.query(`update events set state = 'discarded' where tenant = $1 and id = $2`, [tenant, event])
    await writeEntries(client, [
      {
        tenant,
        at: clock.now(),
        actor: 'system',
        action: 'quarantine.discarded',
        target: id,
        outcome: 'discarded',
        detail: { kind: 'event', event, why: 'the page was read again' },
      },
    ])
  }
}

interface Failure {
  readonly code: string
  readonly reason: string
  readonly retryable: boolean
  readonly retryAt?: number
  readonly exchange?: unknown
  readonly connection: CallConnection
}

/** The provider was asked and did not give the page: by back-off where that may pass, else at the next turn. */
async function failed(poll: DeclaredPoll, failure: Failure, held: Claim, deps: PollDeps): Promise<undefined> {
  const { code, reason, exchange, connection } = failure
  const at = nextTry(poll, failure, held, deps)
  await fenced(poll, held, deps, async (client) => {
    await fail(client, poll, { code, reason, at }, held, deps)
    await deps.writeEntries(client, [
      polledEntry(poll, code, connection, deps, { code, reason, exchange, failures: held.failures + 1 }),
    ])
  })
}

/** A poll never gives up: a wait of the provider's that is too long for a run is one for a poll. */
function nextTry(
  { trigger: { everyMs } }: DeclaredPoll,
  { retryable, retryAt }: Pick<Failure, 'retryable' | 'retryAt'>,
  { failures }: Claim,
  { clock, random }: PollDeps,
): number {
  const now = clock.now()
  if (!retryable) return now + everyMs
  const policy = {
    first: SECOND,
    cap: Math.min(everyMs, RETRY_CAP_MS),
    horizon: Number.POSITIVE_INFINITY,
    attempts: Number.POSITIVE_INFINITY,
  }
  const next = nextAttempt({ attempt: failures + 1, policy, elapsedMs: 0, retryAt, now, random })
  return next.as === 'retry' ? next.at : (retryAt ?? now + everyMs)
}

/** Nothing was asked: what it waits for is on the row, and no entry is written, as for a run that is deferred. */
async function waitFor(
  poll: DeclaredPoll,
  held: Claim,
  why: { readonly code: string; readonly reason: string; readonly retryable: boolean; readonly at?: number },
  deps: PollDeps,
  counts = 0,
): Promise<undefined> {
  const at = why.at ?? nextTry(poll, why, held, deps)
  await fenced(poll, held, deps, (client) => fail(client, poll, { ...why, at }, held, deps, counts))
}

async function fail(
  client: Queryable,
  { name }: DeclaredPoll,
  { code, reason, at }: { readonly code: string; readonly reason: string; readonly at: number },
  { failures }: Claim,
  { tenant, clock }: PollDeps,
  counts = 1,
): Promise<void> {
  await client.query(
    `update schedules set failures = $3, error_code = $4, error = $5, failed_at = $6, due_at = $7, node_id = null, updated_at = now()
     where tenant = $1 and name = $2`,
    [tenant, name, failures + counts, code, reason.slice(0, 2000), new Date(clock.now()), new Date(at)],
  )
}

/** The page as it came is the delivery that its events point into. */
function deliveryOf(
  connection: CallConnection,
  body: Buffer,
  { tenant, now }: { readonly tenant: string; readonly now: number },
  { connectorNamed }: PollDeps,
): Omit<VerifiedDelivery, 'events' | 'parsed'> {
  return {
    tenant,
    connectionId: connection.id,
    connectionName: connection.name,
    connector: connectorNamed(connection.connector.name) ?? connection.connector,
    actor: 'system',
    headers: [],
    contentType: 'application/json',
    body,
    receivedAt: now,
    contentUnique: false,
  }
}

function polledEntry(
  { name }: DeclaredPoll,
  outcome: string,
  connection: CallConnection,
  { tenant, clock }: PollDeps,
  detail: object,
): LedgerEntry {
  return {
    tenant,
    at: clock.now(),
    actor: 'system',
    action: 'schedule.polled',
    target: name,
    outcome,
    connectionId: connection.id,
    detail,
  }
}
