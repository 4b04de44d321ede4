import { fork, type ChildProcess } from 'node:child_process'
import { fileURLToPath } from 'node:url'

/** A process of the benchmark: it says what it listens on, is asked, and ends with its parent. */
export interface Child {
  readonly pid: number
  /** What it said when it was ready. */
  readonly ready: Record<string, unknown>
  /** Asks it something and waits for its answer. */
  ask<Answer>(question: Record<string, unknown>): Promise<Answer>
  kill(signal: NodeJS.Signals): void
  stop(): Promise<void>
}

/** `beside`: a compiled file in the folder of the child's own; left out: this one. */
export async function startChild(
  name: string,
  argument: Record<string, unknown>,
  beside: string | URL = import.meta.url,
): Promise<Child> {
  const child = fork(fileURLToPath(new URL(`./${name}.js`, beside)), [JSON.stringify(argument)], {
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
  })
  const ready = await next<Record<string, unknown>>(child, name)
  return {
    pid: child.pid!,
    ready,
    async ask(question) {
      const answer = next(child, name)
      child.send(question)
      return answer as never
    },
    kill: (signal) => {
      child.kill(signal)
    },
    stop: () => stop(child),
  }
}

function next<Message>(child: ChildProcess, name: string): Promise<Message> {
  return new Promise((resolve, reject) => {
    const onExit = (code: number | null, signal: string | null): void =>
      reject(new Error(`The process ${name} ended (${code ?? signal}).`))
    child.once('exit', onExit)
    child.once('message', (message) => {
      child.off('exit', onExit)
      resolve(message as Message)
    })
  })
}

function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return Promise.resolve()
  return new Promise((resolve) => {
    child.once('exit', () => resolve())
    child.kill('SIGTERM')
  })
}

/** In the child: says that it is ready, answers questions, and ends when its parent is gone. */
export function serveParent(
  ready: Record<string, unknown>,
  answer: (question: Record<string, unknown>) => Promise<unknown>,
  stop: () => Promise<void>,
): void {
  process.on('message', (question) => {
    void answer(question as Record<string, unknown>).then((result) => process.send?.(result ?? {}))
  })
  const end = (): void => {
    void stop().then(() => process.exit(0))
  }
  process.on('SIGTERM', end)
  process.on('disconnect', end)
  process.send?.(ready)
}

// oxlint-disable-next-line typescript/no-unnecessary-type-parameters -- the caller says what its parent gives it
export function argument<T>(): T {
  return JSON.parse(process.argv[2] ?? '{}') as T
}
