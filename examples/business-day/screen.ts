import pico from 'picocolors'
import type { Clock } from 'trestle/testing'

/** What the demo shows: lines that stay, and, on a terminal, one below them that changes. */
export interface Screen {
  line(text: string): void
  title(text: string): void
  /** Something that came in, with its run or what else became of it. */
  event(from: string, what: string, outcome: string): void
  /** Something that was done at a provider, by which run. */
  effect(at: string, what: string, run: string): void
  warning(text: string): void
  good(text: string): void
  /** The line that changes; `undefined` takes it away. Without a terminal there is none. */
  status(text: string | undefined): void
  bold(text: string): string
}

const NAME_WIDTH = 11
const WHAT_WIDTH = 66

export function openScreen(clock: Clock, out: NodeJS.WriteStream = process.stdout): Screen {
  const isTerminal = out.isTTY
  const color = pico.createColors(isTerminal && !process.env['NO_COLOR'])
  let status = ''

  const write = (text: string): void => {
    if (status === '') out.write(`${text}\n`)
    else out.write(`\r\u001b[K${text}\n${status}`)
  }
  const time = (): string => color.dim(new Date(clock.now()).toISOString().slice(11, 19))
  const columns = (name: string, what: string): string => {
    const cut = what.length > WHAT_WIDTH ? `${what.slice(0, WHAT_WIDTH - 1)}…` : what
    return `${name.padEnd(NAME_WIDTH)} ${cut.padEnd(WHAT_WIDTH)}`
  }

  return {
    line: write,
    title: (text) => write(`\n${color.bold(text)}`),
    event: (from, what, outcome) =>
      write(`${time()}  ${color.cyan('in ')} ${columns(from, what)} ${color.dim(outcome)}`),
    effect: (at, what, run) =>
      write(`${time()}  ${color.green('out')} ${columns(at, what)} ${color.dim(run)}`),
    warning: (text) => write(color.yellow(text)),
    good: (text) => write(color.green(text)),
    status(text) {
      if (!isTerminal) return
      status = text === undefined ? '' : text.slice(0, (out.columns ?? 80) - 1)
      out.write(`\r\u001b[K${color.dim(status)}`)
    },
    bold: (text) => color.bold(text),
  }
}
