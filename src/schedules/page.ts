import { createHash } from 'node:crypto'
import { atPointer, encodeJson, parseJson, reasonOf, type JsonValue } from '../base/index.ts'
import { checkEvent } from '../contracts/index.ts'
import type { IncomingEvent, PageToken, PollAsk } from '../define/index.ts'
import type { DeclaredPoll } from './declared.ts'

/** A page, read: what is to become events, and what moves the cursor. */
export interface PageRead {
  readonly as: 'read'
  readonly parsed: JsonValue
  /** One for each item, in the page's order. */
  readonly events: readonly IncomingEvent[]
  /** When the items changed, in milliseconds since 1970; without those that do not say. */
  readonly times: readonly number[]
  readonly next: PageToken | undefined
}

/** A page that the cursor must not pass: what is wrong with it, and where (JSON Pointer). */
export interface PageRefused {
  readonly as: 'refused'
  readonly code: string
  readonly path: string
  readonly reason: string
}

/**
 * Reads the items of an answer that fits its operation's contract. An item that fails its own contract is an event
 * all the same, which the inbox quarantines; it is known again by its content.
 */
export function readPage(
  { name, trigger }: Pick<DeclaredPoll, 'name' | 'trigger'>,
  answer: { readonly body: Buffer; readonly output: unknown },
  ask: PollAsk,
): PageRead | PageRefused {
  const { source } = trigger
  let parsed: JsonValue
  try {
    parsed = parseJson(answer.body)
  } catch (error) {
    return refused('body_no_json', '', `items are read from JSON, and the answer is none: ${reasonOf(error)}`)
  }
  const list = atPointer(parsed, source.items) ?? []
  if (!Array.isArray(list))
    return refused('items_missing', source.items, `"items" names this place, and no list is there.`)
  const events: IncomingEvent[] = []
  const times: number[] = []
  try {
    list.forEach((raw, i) => {
      const at = `${source.items}/${i}`
      const checked = checkEvent(source.item, raw)
      if (checked.as === 'broken') {
        events.push({ id: `${name} content ${digestOf(raw)}`, type: trigger.type, at })
        return
      }
      const changed = source.changedAt && timeOf(source.changedAt(checked.value))
      if (changed !== undefined) times.push(changed)
      events.push({
        id: keyOf(name, trigger, checked.value),
        type: trigger.type,
        ...(changed === undefined ? {} : { occurredAt: new Date(changed).toISOString() }),
        at,
      })
    })
    const next = source.next(answer.output, ask, list.length)
    if (next !== undefined && next === ask.after)
      return refused(
        'page_repeated',
        '',
        `"next" gives ${JSON.stringify(next)} again, the page that was just read.`,
      )
    if (source.order === 'changedAt' && times.some((time, i) => time < (times[i - 1] ?? time)))
      return refused(
        'order_broken',
        source.items,
        `the items do not come in the order in which they changed, although the source says so (order: 'changedAt').`,
      )
    return { as: 'read', parsed, events, times, next }
  } catch (error) {
    return refused('source_threw', source.items, `a function of the poll's source threw: ${reasonOf(error)}`)
  }
}

/** By what the item, or this change of it, is known again. Each poll has its own: two flows both get the item. */
function keyOf(name: string, { source, changes }: DeclaredPoll['trigger'], item: unknown): string {
  const id: unknown = source.id(item)
  if (typeof id !== 'string' || id === '') throw new TypeError(`"id" gave no text (${typeof id}).`)
  const version: unknown = changes ? source.version?.(item) : undefined
  if (version !== undefined && typeof version !== 'string')
    throw new TypeError(`"version" gave no text (${typeof version}).`)
  // Written as JSON, so that no id and version together look like another pair.
  return `${name} ${JSON.stringify(version === undefined ? [id] : [id, version])}`
}

/** Some write `-0700`; what is no time moves nothing. */
function timeOf(text: unknown): number | undefined {
  const time = typeof text === 'string' ? Date.parse(text.replace(/([+-]\d\d)(\d\d)$/, '$1:$2')) : Number.NaN
  return Number.isNaN(time) ? undefined : time
}

function digestOf(value: JsonValue): string {
  return createHash('sha256').update(encodeJson(value)).digest('hex')
}

function refused(code: string, path: string, reason: string): PageRefused {
  return { as: 'refused', code, path, reason }
}
