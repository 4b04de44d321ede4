import pg from 'pg'
import { PgBoss } from 'pg-boss'
import type { Clock, RunId } from '../base/index.ts'
import type { Database, Queryable } from '../db/index.ts'

export interface RunRef {
  readonly tenant: string
  readonly id: RunId
}

/** One wake-up taken: drop it in the transaction that claims its runs. */
export interface WakeUp {
  readonly id: string
  readonly runs: readonly RunRef[]
}

export interface Dispatch {
  /** Begins to listen. `wakened` is called, at least once, soon after a wake-up was committed anywhere. */
  start(wakened: () => void): Promise<void>
  stop(): Promise<void>
  /** Sends wake-ups for these runs within the given transaction. */
  wake(client: Queryable, runs: readonly RunRef[]): Promise<void>
  /** Takes up to `most` wake-ups for this node; no other node gets them meanwhile. */
  take(most: number): Promise<WakeUp[]>
  /** Deletes taken wake-ups within the given transaction. */
  drop(client: Queryable, wakeUps: readonly WakeUp[]): Promise<void>
}

const SCHEMA = 'dispatch'
const QUEUE = 'wake-ups'
const CHANNEL = 'trestle_wake'
/** Runs in one wake-up: fewer rows for the queue to carry, and still many nodes can share a burst. */
export const RUNS_PER_WAKE_UP = 32
const RECONNECT_MS = 500
/** How often a node looks for wake-ups where it cannot listen: behind a pooler, without a way past it. */
const LOOK_MS = 200

type WakeUpPayload = { readonly runs: readonly (readonly [tenant: string, id: RunId])[] }

function pgBoss(database: Database, options: { supervise: boolean }): PgBoss {
  return new PgBoss({
    schema: SCHEMA,
    db: { executeSql: (text: string, values?: unknown[]) => database.pool.query(text, values) },
    supervise: options.supervise,
    schedule: false,
    backend: database.backend,
  })
}

/** Creates the queue's tables. Safe when several nodes do it at once. */
export async function installDispatch(database: Database): Promise<void> {
  const boss = pgBoss(database, { supervise: false })
  boss.on('error', () => {})
  await boss.start()
  if (!(await boss.getQueue(QUEUE)))
    // A wake-up whose node died between taking and dropping it comes back after a minute; the rescue is earlier.
    await boss.createQueue(QUEUE, {
      expireInSeconds: 60,
      retryLimit: 5,
      deleteAfterSeconds: 3600,
      retentionSeconds: 86_400,
    })
  await boss.stop({ graceful: false })
}

export interface DispatchOptions {
  readonly database: Database
  readonly clock: Clock
  /** Faults of the queue's own upkeep and of the listening connection; both mend themselves. */
  readonly onFault?: (error: Error) => void
}

export function createDispatch({ database, clock, onFault = () => {} }: DispatchOptions): Dispatch {
  const boss = pgBoss(database, { supervise: true })
  boss.on('error', onFault)
  let listener: pg.Client | undefined
  let stopping = false

  /** Where there is nothing to listen on: `wakened` every now and then, until stopped. */
  function look(wakened: () => void): void {
    if (stopping) return
    wakened()
    clock.after(LOOK_MS, () => look(wakened))
  }

  /** Listens on one connection; when it ends, on another, until stopped. */
  async function listen(connectionString: string, wakened: () => void): Promise<void> {
    const client = new pg.Client({
      connectionString,
      application_name: 'trestle listen',
      keepAlive: true,
      connectionTimeoutMillis: database.connectTimeoutMs,
    })
    let over = false
    const again = (error?: Error): void => {
      if (over) return
      over = true
      client.end().catch(() => {})
      if (stopping) return
      if (error) onFault(error)
      clock.after(RECONNECT_MS, () => {
        if (!stopping) listen(connectionString, wakened).catch(() => {})
      })
    }
    client.on('error', again)
    client.on('end', () => again())
    client.on('notification', wakened)
    listener = client
    try {
      await client.connect()
      await client.query(`listen ${CHANNEL}`)
    } catch (error) {
      again(error as Error)
      throw error
    }
    wakened() // What was sent while nobody listened.
  }

  return {
    async start(wakened) {
      await boss.start()
      if (database.listenUrl === undefined) look(wakened)
      else await listen(database.listenUrl, wakened)
    },
    async stop() {
      stopping = true
      await listener?.end().catch(() => {})
      await boss.stop({ graceful: false })
    },
    async wake(client, runs) {
      if (runs.length === 0) return
      const jobs = []
      for (let i = 0; i < runs.length; i += RUNS_PER_WAKE_UP) {
        const payload: WakeUpPayload = {
          runs: runs.slice(i, i + RUNS_PER_WAKE_UP).map((run) => [run.tenant, run.id]),
        }
        jobs.push({ data: payload })
      }
      const db = { executeSql: (text: string, values?: unknown[]) => client.query(text, values) }
      await Promise.all([
        boss.insert(QUEUE, jobs, { db }),
        client.query(`select pg_notify('${CHANNEL}', '')`),
      ])
    },
    async take(most) {
      const jobs = await boss.fetch<WakeUpPayload>(QUEUE, { batchSize: most })
      return jobs.map((job) => ({ id: job.id, runs: job.data.runs.map(([tenant, id]) => ({ tenant, id })) }))
    },
    async drop(client, wakeUps) {
      if (wakeUps.length === 0) return
      const db = { executeSql: (text: string, values?: unknown[]) => client.query(text, values) }
      await boss.deleteJob(
        QUEUE,
        wakeUps.map((wakeUp) => wakeUp.id),
        { db },
      )
    },
  }
}
