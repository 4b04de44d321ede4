import { writeSync } from 'node:fs'
import { workerData } from 'node:worker_threads'
import pg from 'pg'

interface WatchdogData {
  readonly shared: SharedArrayBuffer
  readonly databaseUrl: string
  readonly limitMs: number
  readonly pid: number
}

const LOOK_MS = 500
const { shared, databaseUrl, limitMs, pid } = workerData as WatchdogData
const beats = new Int32Array(shared, 0, 1)
const name = Buffer.from(shared, 8)
let seen = Atomics.load(beats, 0)
let still = 0

const timer = setInterval(() => {
  const now = Atomics.load(beats, 0)
  still = now === seen ? still + LOOK_MS : 0
  seen = now
  if (still < limitMs) return
  clearInterval(timer)
  void endNode()
}, LOOK_MS)

/** Names the run, then ends the process, which can no longer end itself. */
async function endNode(): Promise<void> {
  const run = name.toString('utf8').replaceAll('\0', '')
  const reason = `Its flow blocked the event loop for ${limitMs / 1000} s. Look for a loop without an end, or for heavy computing, and move it out of the flow.`
  // A thread's own stderr goes through the event loop that stands still.
  writeSync(2, `The event loop stood still for ${limitMs / 1000} s in run ${run}: this node ends.\n`)
  const client = new pg.Client({
    connectionString: databaseUrl,
    connectionTimeoutMillis: 2_000,
    query_timeout: 2_000,
  })
  try {
    await client.connect()
    await client.query(
      `update runs set reason_code = 'event_loop_blocked', reason = $2 where id = $1 and state in ('running', 'undoing')`,
      [run, reason],
    )
  } catch {
    // The run is rescued all the same; only the reason is missing.
  }
  process.kill(pid, 'SIGKILL')
}
