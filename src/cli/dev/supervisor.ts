import { durationWords, SECOND, type Clock } from '../../base/index.ts'
import { EXIT, type ExitCode } from '../exitCodes.ts'
import type { Ready } from '../serving/serve.ts'

/** A child process, as far as a supervisor needs one. */
export interface Child {
  readonly pid: number | undefined
  kill(signal: NodeJS.Signals): void
  onReady(listener: (ready: Ready) => void): void
  onExit(listener: (exit: ChildExit) => void): void
}

export interface ChildExit {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
}

export interface SupervisorOptions {
  readonly spawn: () => Child
  readonly clock: Clock
  readonly say: (line: string) => void
  /** Called each time the child is up: the first time, or so many milliseconds after the one before had ended. */
  readonly onReady: (ready: Ready, downMs: number | 'first') => void
  /** Whether a change to a file will be told by {@link Supervisor.restart}. */
  readonly watches: boolean
}

export interface Supervisor {
  /** Resolves when the child has ended for good. */
  readonly ended: Promise<ExitCode>
  /** Ends the child in order and starts another. */
  restart(why: string): void
  /** Ends the child: in order, after 46 s by force. */
  stop(): Promise<void>
  /** Ends the child by force, now. */
  stopAtOnce(): void
}

/** What to do after the child ended by itself. */
export type AfterExit =
  | { readonly as: 'restart'; readonly afterMs: number }
  /** The configuration has a mistake: the same again would fail again. */
  | { readonly as: 'wait_for_change' }
  | { readonly as: 'end'; readonly code: ExitCode }

const FIRST_DELAY_MS = 0.2 * SECOND
const LAST_DELAY_MS = 10 * SECOND
/** A child that lived this long had started well. */
const SETTLED_MS = 10 * SECOND
const STOP_LIMIT_MS = 46 * SECOND

/** Decides from how the child ended. `failures` counts ends in a row, each sooner than 10 s after its start. */
export function afterExit(state: {
  readonly exit: ChildExit
  /** Whether any child has come up so far. */
  readonly everReady: boolean
  readonly failures: number
  readonly watches: boolean
}): AfterExit {
  const { exit, everReady, failures, watches } = state
  if (exit.code === EXIT.usage) return watches ? { as: 'wait_for_change' } : { as: 'end', code: EXIT.usage }
  // A port in use, or a database that is not there: at the first start a person is looking.
  if (!everReady && exit.signal === null) return { as: 'end', code: exitCode(exit.code) }
  return { as: 'restart', afterMs: Math.min(FIRST_DELAY_MS * 2 ** failures, LAST_DELAY_MS) }
}

function exitCode(code: number | null): ExitCode {
  return code === EXIT.unavailable ? EXIT.unavailable : EXIT.failed
}

/** Keeps one child running until it is told to stop. */
export function startSupervisor(options: SupervisorOptions): Supervisor {
  const { clock, say } = options
  let child: Child | undefined
  let startedAt = 0
  let downSince = 0
  let failures = 0
  let everReady = false
  let stopping = false
  let wanted: 'restart' | undefined
  let cancelDelay: () => void = () => {}
  let end: (code: ExitCode) => void = () => {}
  const ended = new Promise<ExitCode>((resolve) => {
    end = resolve
  })

  function start(): void {
    startedAt = clock.monotonic()
    const started = options.spawn()
    child = started
    started.onReady((ready) => {
      options.onReady(ready, everReady ? clock.monotonic() - downSince : 'first')
      everReady = true
    })
    started.onExit((exit) => {
      if (child !== started) return
      child = undefined
      downSince = clock.monotonic()
      onExit(exit)
    })
  }

  function onExit(exit: ChildExit): void {
    if (stopping) return end(EXIT.ok)
    if (wanted === 'restart') {
      wanted = undefined
      failures = 0
      return start()
    }
    failures = clock.monotonic() - startedAt < SETTLED_MS ? failures + 1 : 0
    const next = afterExit({ exit, everReady, failures: Math.max(0, failures - 1), watches: options.watches })
    if (next.as === 'end') return end(next.code)
    if (next.as === 'wait_for_change') return say('Waiting for a change to a file. Stop with Ctrl-C.')
    say(`The server ended (${exitWords(exit)}). Starting it again in ${durationWords(next.afterMs)}.`)
    cancelDelay = clock.after(next.afterMs, start, { keepAlive: true })
  }

  start()
  return {
    ended,
    restart(why) {
      if (stopping) return
      say(`${why} Starting again.`)
      cancelDelay()
      if (child === undefined) return start()
      wanted = 'restart'
      child.kill('SIGTERM')
    },
    async stop() {
      stopping = true
      cancelDelay()
      if (child === undefined) return end(EXIT.ok)
      child.kill('SIGTERM')
      const cancel = clock.after(STOP_LIMIT_MS, () => child?.kill('SIGKILL'), { keepAlive: true })
      await ended
      cancel()
    },
    stopAtOnce() {
      stopping = true
      child?.kill('SIGKILL')
    },
  }
}

function exitWords({ code, signal }: ChildExit): string {
  return signal ?? `exit code ${code}`
}
