import Table from 'cli-table3'
import colors from 'picocolors'
import { codeOf, LosslessNumber, reasonOf, systemClock, type Clock } from '../base/index.ts'
import { startProgress, type Progress } from './progress.ts'

/** Where a command says what it has to say. */
export interface Output {
  readonly json: boolean
  /** The command's answer: an object for programs, words for people. Called once. */
  answer(value: object, words: () => string): void
  /** The same, for an answer that is JSON already. */
  answerJson(json: string, words: () => string): void
  /** Said to people on the way, on stderr; programs that asked for JSON are spared. */
  notice(line: string): void
  /** An error in a sentence on stderr; with `--json` also as the object on stdout. */
  error(error: unknown): void
  progress(title: string): Progress
}

export interface Streams {
  readonly stdout: { write(text: string): unknown }
  readonly stderr: { write(text: string): unknown; readonly isTTY?: boolean; readonly columns?: number }
}

export function createOutput(json: boolean, streams: Streams = process, clock: Clock = systemClock): Output {
  const { stdout, stderr } = streams
  const print = (text: string): void => {
    if (text !== '') stdout.write(text.endsWith('\n') ? text : `${text}\n`)
  }
  return {
    json,
    answer: (value, words) => print(json ? encodeAnswer(value) : words()),
    answerJson: (encoded, words) => print(json ? encoded : words()),
    notice(line) {
      if (!json) stderr.write(`${line}\n`)
    },
    error(error) {
      const message = errorWords(error)
      stderr.write(`${colors.red('error')} ${message}\n`)
      if (json) print(encodeAnswer({ error: { code: errorCode(error), message } }))
    },
    progress: (title) => startProgress(title, stderr, clock),
  }
}

/** The API's routes tell their own readers what to ask for next; here it is a command. */
function errorWords(error: unknown): string {
  return reasonOf(error).replace(/ with GET \/api\/v1\/([\w-]+)\./, ' with: trestle $1')
}

/** Errors of the API's routes carry their code in the problem that they would be answered with. */
function errorCode(error: unknown): string {
  const problem = (error as { problem?: { code?: unknown } } | null)?.problem
  return typeof problem?.code === 'string' ? problem.code : codeOf(error, 'failed')
}

/** JSON of an answer: times as ISO 8601, numbers beyond 2^53 as bare digits, bytes as base64. */
export function encodeAnswer(value: unknown): string {
  if (value === null || value === undefined) return 'null'
  if (value instanceof Date) return JSON.stringify(value)
  if (value instanceof LosslessNumber || typeof value === 'bigint') return value.toString()
  if (Buffer.isBuffer(value)) return JSON.stringify(value.toString('base64'))
  if (Array.isArray(value)) return `[${value.map(encodeAnswer).join(',')}]`
  if (typeof value !== 'object') return JSON.stringify(value)
  const members = Object.entries(value).filter(([, member]) => member !== undefined)
  return `{${members.map(([key, member]) => `${JSON.stringify(key)}:${encodeAnswer(member)}`).join(',')}}`
}

export type Cell = string | number | undefined | null

/** Rows under a bold head, without lines; `none` where there are no rows. On a terminal the last column is cut to fit. */
export function table(head: readonly string[], rows: readonly (readonly Cell[])[], none: string): string {
  if (rows.length === 0) return none
  const cells = rows.map((row) =>
    row.map((cell) => (cell === undefined || cell === null ? '' : String(cell))),
  )
  const drawn = new Table({
    head: head.map((name) => colors.bold(name)),
    chars: NO_LINES,
    style: { head: [], border: [], 'padding-left': 0, 'padding-right': 2 },
  })
  drawn.push(...fitted(head, cells, process.stdout.isTTY ? process.stdout.columns : undefined))
  return trimEnds(drawn.toString())
}

/** Names and values below each other, the names aligned. Without a value a line is left out. */
export function facts(pairs: readonly (readonly [name: string, value: Cell])[]): string {
  const shown = pairs.filter(([, value]) => value !== undefined && value !== null && value !== '')
  const width = Math.max(...shown.map(([name]) => name.length))
  return shown.map(([name, value]) => `${colors.dim(name.padEnd(width))}  ${value}`).join('\n')
}

const NO_LINES = Object.fromEntries(
  ['top', 'bottom', 'left', 'right', 'mid']
    .flatMap((at) => [at, `${at}-mid`, `${at}-left`, `${at}-right`])
    .concat('middle', 'left-mid', 'mid-mid', 'right-mid')
    .map((name) => [name, '']),
)

function fitted(head: readonly string[], rows: readonly string[][], columns: number | undefined): string[][] {
  if (columns === undefined) return [...rows]
  const last = head.length - 1
  const before = head
    .slice(0, last)
    .reduce(
      (sum, name, i) => sum + 2 + Math.max(name.length, ...rows.map((row) => visible(row[i]!).length)),
      0,
    )
  const room = Math.max(20, columns - before - 1)
  return rows.map((row) => {
    const text = row[last] ?? ''
    return visible(text).length <= room
      ? row
      : [...row.slice(0, last), `${visible(text).slice(0, room - 1)}…`]
  })
}

function visible(text: string): string {
  // oxlint-disable-next-line no-control-regex -- terminal colours begin with this character
  return text.replace(/\u001b\[\d+m/g, '')
}

function trimEnds(text: string): string {
  return text
    .split('\n')
    .map((line) => line.trimEnd())
    .join('\n')
}
