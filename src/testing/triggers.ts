import { atPointer, encodeJson, parseJson, systemClock, UsageError } from '../base/index.ts'
import { checkAnswer, checkInput } from '../contracts/index.ts'
import type { AnyFlow, Flow, PollAsk, PollTrigger } from '../define/index.ts'
import {
  askOf,
  behind,
  createOccurrences,
  declaredSchedules,
  firstPosition,
  readPage,
} from '../schedules/index.ts'

/** The next times at which a flow's schedule runs, after `from` (default: now), as the platform would run it. */
export function timesOf(
  flow: AnyFlow,
  options: { readonly from?: Date | string | number; readonly count?: number } = {},
): Date[] {
  const declared = declaredSchedules([flow]).get(flow.name)
  if (declared?.kind !== 'cron')
    throw new UsageError(
      'trigger_invalid',
      `The flow "${flow.name}" has no schedule: its "on" is no cron(…).`,
    )
  const { after } = createOccurrences(declared.trigger.expression, declared.trigger.zone)
  const times: Date[] = []
  for (
    let at = after(new Date(options.from ?? systemClock.now()).getTime());
    times.length < (options.count ?? 5);
    at = after(at)
  )
    times.push(new Date(at))
  return times
}

export interface PlayedPoll<Item> {
  /** Items that start a run, in the order in which they were read. */
  readonly items: readonly Item[]
  /** Items that the source's contract refuses: JSON Pointers into the pages that they stood on. */
  readonly refused: readonly string[]
  /** What the operation was asked with, page by page. */
  readonly asked: readonly unknown[]
  /** How far it has read: the time of the latest change. */
  readonly cursor: string | null
}

/**
 * Plays a flow's poll against `answer`, which gives the body that the provider would answer a page with, as data. It
 * reads until there is no further page, `polls` times (default 1), as the platform would: cursor, overlap, and each
 * item once. Throws where a page cannot be read, with what is wrong and where.
 */
export function playPoll<Item>(
  flow: Flow<Item>,
  answer: (input: unknown) => unknown,
  options: { readonly now?: Date | string; readonly polls?: number } = {},
): PlayedPoll<Item> {
  const declared = declaredSchedules([flow as AnyFlow]).get(flow.name)
  if (declared?.kind !== 'poll')
    throw new UsageError('trigger_invalid', `The flow "${flow.name}" polls nothing: its "on" is no poll(…).`)
  const { trigger } = declared
  const now = options.now === undefined ? systemClock.now() : new Date(options.now).getTime()
  const seen = new Set<string>()
  const items: Item[] = []
  const refused: string[] = []
  const asked: unknown[] = []
  let position = firstPosition(trigger, now)
  for (let poll = 0; poll < (options.polls ?? 1); poll++) {
    for (let more = true, pages = 0; more; pages++) {
      if (pages >= MOST_PAGES)
        throw unreadable(`It has read ${MOST_PAGES} pages, and "next" names another one.`)
      const ask = askOf(position, trigger.overlapMs)
      const { input, body, output } = exchange(trigger, ask, answer)
      asked.push(input)
      const page = readPage(declared, { body, output }, ask)
      if (page.as === 'refused')
        throw unreadable(`At ${page.path === '' ? 'its root' : page.path}: ${page.reason}`)
      for (const { id, at } of page.events) {
        if (seen.has(id!)) continue
        seen.add(id!)
        const checked = checkAnswer(trigger.definition.schema, atPointer(page.parsed, at))
        if (checked.as === 'valid') items.push(checked.value as Item)
        else refused.push(`${at}${checked.path}`)
      }
      const moved = behind(
        position,
        { ask, times: page.times, next: page.next, askedAt: now, now },
        trigger.source,
      )
      position = moved.position
      more = moved.more
    }
  }
  return { items, refused, asked, cursor: position.cursor }
}

/** Further than any list of a test goes. */
const MOST_PAGES = 10_000

/** The operation's part: its input checked, its answer read and held against its contract. */
function exchange(
  trigger: PollTrigger,
  ask: PollAsk,
  answer: (input: unknown) => unknown,
): { readonly input: unknown; readonly body: Buffer; readonly output: unknown } {
  const { operation, input: inputOf } = trigger.source
  const given = checkInput(operation.input, inputOf(ask))
  if (given.as === 'broken')
    throw unreadable(`The input at ${given.path} is not what ${trigger.operationName} takes: ${given.reason}`)
  const text = encodeJson(answer(given.value))
  const json = parseJson(text)
  const raw: unknown = operation.answer
    ? operation.answer({ status: 200, headers: {}, json, text }, given.value)
    : json
  const output = checkAnswer(operation.output, raw)
  if (output.as === 'broken')
    throw unreadable(
      `The answer of ${trigger.operationName} breaks its contract at ${output.path}: ${output.reason}`,
    )
  return { input: given.value, body: Buffer.from(text), output: output.value }
}

function unreadable(what: string): UsageError {
  return new UsageError('page_unreadable', `The page cannot be read. ${what}`)
}
