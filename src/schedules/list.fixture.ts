import { z } from 'zod'
import { encodeJson, MINUTE, SECOND } from '../base/index.ts'
import type { CallOutcome, CallRequest, Exchange } from '../calls/index.ts'
import {
  defineConnector,
  defineFlow,
  defineOperation,
  definePollSource,
  poll,
  type AnyFlow,
  type PollOptions,
  type PollSource,
} from '../define/index.ts'
import { NINE } from './schedules.fixture.ts'

const item = z.looseObject({ id: z.string(), n: z.number(), changedAt: z.string() })
export type Item = z.infer<typeof item>
const page = z.looseObject({ items: z.array(z.looseObject({})), next: z.number().optional() })
type Page = z.infer<typeof page>
const ask = z.object({ since: z.string().optional(), after: z.number().optional() })

const listThings = defineOperation({
  summary: 'list things',
  input: ask,
  output: page,
  idempotency: { kind: 'natural' },
  request: () => ({ method: 'GET', path: '/things' }),
})

/** A provider with a list, asked by time of change and offset. */
export const books = defineConnector({
  name: 'books',
  title: 'Books',
  baseUrl: 'http://127.0.0.1:1',
  auth: { kind: 'none' },
  operations: { things: { list: listThings } },
  events: {},
  limits: [],
  check: { operation: 'things.list', input: {} },
})

type Source = PollSource<Item, z.infer<typeof ask>, Page>

export const changedThings: Source = definePollSource({
  summary: 'a thing changed',
  operation: listThings,
  input: ({ since, after }) => ({
    ...(since === undefined ? {} : { since }),
    ...(after === undefined ? {} : { after: Number(after) }),
  }),
  items: '/items',
  item,
  id: (thing) => thing.id,
  version: (thing) => String(thing.n),
  changedAt: (thing) => thing.changedAt,
  order: 'changedAt',
  next: (answer) => answer.next,
  overlap: '1 min',
})

export function polling(
  over: Partial<PollOptions> = {},
  source: Partial<Source> = {},
  name = 'things',
): AnyFlow {
  return defineFlow({
    name,
    on: poll(books, { ...changedThings, ...source }, { every: '5 min', ...over }),
    run: ({ event }) => event.data.n,
  })
}

export const exchange = { status: 200, ms: 1 } as Exchange

/** The provider's side: what it has, and what it was asked. */
export class ThingList {
  readonly items: Item[] = []
  readonly asked: z.infer<typeof ask>[] = []
  pageSize = 2

  put(id: string, n = 1, changedAt = NINE - 30 * MINUTE + this.items.length * SECOND): void {
    const at = this.items.findIndex((one) => one.id === id)
    if (at >= 0) this.items.splice(at, 1)
    this.items.push({ id, n, changedAt: new Date(changedAt).toISOString() })
  }

  /** Answers as the calls pipeline does. */
  readonly call = (request: CallRequest): CallOutcome => {
    const { since, after = 0 } = request.input as z.infer<typeof ask>
    this.asked.push(request.input as z.infer<typeof ask>)
    const found = this.items
      .filter((one) => since === undefined || Date.parse(one.changedAt) >= Date.parse(since))
      .toSorted((a, b) => Date.parse(a.changedAt) - Date.parse(b.changedAt))
    const items = found.slice(after, after + this.pageSize)
    const next = after + this.pageSize < found.length ? after + this.pageSize : undefined
    return answered({ items, ...(next === undefined ? {} : { next }) })
  }
}

export function answered(output: unknown): CallOutcome {
  return { as: 'succeeded', output, summary: undefined, exchange, body: Buffer.from(encodeJson(output)) }
}
