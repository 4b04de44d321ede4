import { durationWords, newId, reasonOf, SECOND, type Clock } from '../base/index.ts'
import type { Queryable } from '../db/index.ts'
import { writeEntries, type LedgerEntry } from '../ledger/index.ts'
import type { Channel } from './alerts/channel.ts'
import { atWords } from './detectors/detector.ts'
import type { AlertPayload, OpenIncident } from './incident.ts'
import { incidentEntry, insertAlerts, insertIncident, markResolved, markTold } from './store.ts'

/** Without an answer of the database for this long it is told. */
export const AWAY_AFTER_MS = 15 * SECOND
const AGAIN_AFTER_MS = 5 * SECOND
/** A check that comes this late says that this process stood still, and not the database. */
const STOOD_STILL_MS = 5 * SECOND
const OVER =
  'The database answers again; what was written down meanwhile, at the providers and here, goes on.'

/** The database was away, and somebody may have been told: to be written down now that it is back. */
export interface WasAway {
  readonly incident: OpenIncident
  /** Channels that took the opening. */
  readonly told: readonly string[]
}

/**
 * The one incident that cannot wait in the database: that it does not answer. Each node tells for itself, from memory,
 * since none can know of the others; what it told is written down when the database is back.
 */
export class AwayWatch {
  readonly #clock: Clock
  readonly #channels: readonly Channel[]
  readonly #where: string
  /** By the monotonic clock: a clock that is set is no silence. */
  #answered: number
  #checked: number
  #incident: OpenIncident | undefined
  readonly #told = new Set<string>()
  #triedAt = Number.NEGATIVE_INFINITY
  #underWay = false
  #telling: Promise<unknown> = Promise.resolve()

  constructor(options: {
    readonly clock: Clock
    readonly channels: readonly Channel[]
    /** Which node this is, in words. */
    readonly where: string
  }) {
    this.#clock = options.clock
    this.#channels = options.channels
    this.#where = options.where
    this.#answered = this.#checked = this.#clock.monotonic()
  }

  /** The database answered. What is to be written down, if it was away for long. */
  answered(): WasAway | undefined {
    this.#answered = this.#clock.monotonic()
    if (!this.#incident) return undefined
    const was = { incident: this.#incident, told: [...this.#told] }
    this.#incident = undefined
    this.#told.clear()
    return was
  }

  /** Tells where it has been silent for too long; `why`: the last fault, if any. Call it every second or so. */
  check(why: unknown): void {
    const now = this.#clock.monotonic()
    if (now - this.#checked > STOOD_STILL_MS && !this.#incident) this.#answered = now
    this.#checked = now
    if (now - this.#answered < AWAY_AFTER_MS) return
    this.#incident ??= this.#open(why, this.#clock.now() - (now - this.#answered))
    const missing = this.#channels.filter((channel) => !this.#told.has(channel.name))
    if (missing.length === 0 || this.#underWay || now - this.#triedAt < AGAIN_AFTER_MS) return
    this.#underWay = true
    this.#triedAt = now
    const incident = this.#incident
    this.#telling = Promise.allSettled(missing.map((channel) => this.#tell(channel, incident))).finally(
      () => {
        this.#underWay = false
      },
    )
  }

  /** Resolves when what is being told has been. */
  settled(): Promise<unknown> {
    return this.#telling
  }

  #open(why: unknown, since: number): OpenIncident {
    return {
      id: newId('inc'),
      state: 'open',
      kind: 'database_away',
      subject: this.#where,
      title: `The database does not answer ${this.#where}`,
      what: `The database has not answered ${this.#where} since ${atWords(since)}.${why === undefined ? '' : ` ${reasonOf(why)}`}`,
      since,
      holdsUp:
        'Everything: webhooks are answered with 503, so that their senders send them again, and no run goes on. What was acknowledged is not lost.',
      todo: `Look at PostgreSQL: whether it runs, whether its disk is full, whether this machine reaches it. It is tried all the time.`,
    }
  }

  async #tell(channel: Channel, incident: OpenIncident): Promise<void> {
    const told = await channel.tell({
      id: `${incident.id}_${channel.name}`,
      payload: awayPayload(incident, 'opened', this.#clock.now()),
    })
    if (told.as !== 'failed') this.#told.add(channel.name)
  }
}

/**
 * Writes down an incident that is over, with what was told of it. Its end goes to all channels, and the opening to those
 * that could not be reached meanwhile. In a transaction; again where nobody heard whether it was committed, which writes
 * nothing if it was.
 */
export async function recordAway(
  client: Queryable,
  tenant: string,
  { incident, told }: WasAway,
  channels: readonly string[],
  now: number,
): Promise<void> {
  const { rowCount } = await client.query('select 1 from incidents where tenant = $1 and id = $2', [
    tenant,
    incident.id,
  ])
  if (rowCount === 1) return
  await insertIncident(client, tenant, incident, now, incident.id)
  const over = `${OVER} It was away for ${durationWords(Math.max(0, now - incident.since))}.`
  await markResolved(client, tenant, incident.id, over, now)
  await insertAlerts(client, tenant, awayPayload(incident, 'opened', now), channels, now)
  await markTold(client, tenant, incident.id, told, now)
  const end = { ...awayPayload(incident, 'resolved', now), resolution: over }
  await insertAlerts(client, tenant, end, channels, now)
  await writeEntries(client, [
    incidentEntry(tenant, incident, 'opened', now),
    ...told.map((channel): LedgerEntry => ({
      tenant,
      at: now,
      actor: 'system',
      action: 'alert.sent',
      target: incident.id,
      outcome: 'sent',
      detail: { channel, change: 'opened', whileAway: true },
    })),
    incidentEntry(tenant, incident, 'resolved', now),
  ])
}

function awayPayload(incident: OpenIncident, change: AlertPayload['change'], now: number): AlertPayload {
  return {
    incident: incident.id,
    kind: incident.kind,
    change,
    title: incident.title,
    what: incident.what,
    since: new Date(incident.since).toISOString(),
    holdsUp: incident.holdsUp,
    todo: incident.todo,
    connection: null,
    flow: null,
    at: new Date(now).toISOString(),
    resolution: null,
  }
}
