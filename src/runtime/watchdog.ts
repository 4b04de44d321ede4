import { Worker } from 'node:worker_threads'
import { SECOND } from '../base/index.ts'

/** A flow that has blocked the event loop for this long ends its node. */
export const BLOCKED_LIMIT_MS = 10 * SECOND
const BEAT_MS = 500
const NAME_BYTES = 128

export interface Watchdog {
  /** The flow's code of this run is entered: if nothing is heard from now on, it is to blame. */
  entering(run: string): void
  stop(): Promise<void>
}

/**
 * A thread that watches this process' event loop. Where it has stood still for {@link BLOCKED_LIMIT_MS}, the thread
 * writes the reason on the run that was entered last, says so on stderr, and kills the process: other nodes, or the
 * supervisor's next child, take the runs back. A run that does so again and again is parked by its claims.
 */
export function startWatchdog(databaseUrl: string, limitMs = BLOCKED_LIMIT_MS): Watchdog {
  const shared = new SharedArrayBuffer(8 + NAME_BYTES)
  const beats = new Int32Array(shared, 0, 1)
  const name = Buffer.from(shared, 8, NAME_BYTES)
  const timer = setInterval(() => Atomics.add(beats, 0, 1), BEAT_MS)
  timer.unref()
  const thread = new Worker(new URL('./watchdogThread.js', import.meta.url), {
    workerData: { shared, databaseUrl, limitMs, pid: process.pid },
  })
  thread.unref()
  // Without its watchdog a node still works; a broken thread must not take it down.
  thread.on('error', () => {})
  return {
    entering(run) {
      name.fill(0)
      name.write(run)
    },
    async stop() {
      clearInterval(timer)
      await thread.terminate()
    },
  }
}
