import { z } from '@hono/zod-openapi'
import { pageAfter, type Page, type Queryable } from '../../db/index.ts'

/** What every listing takes beside its filters. */
export const pagingQuery = {
  limit: z.coerce
    .number()
    .int()
    .min(1)
    .max(200)
    .default(50)
    .openapi({ description: 'Most items on the page.' }),
  cursor: z
    .string()
    .max(512)
    .optional()
    .openapi({ description: '"next" of the page before, as it is. Left out: from the start.' }),
  order: z.enum(['newest_first', 'oldest_first']).default('newest_first').openapi({
    description:
      'To follow what happens without missing anything, take oldest_first, keep "next", and ask again with it: what commits late still comes after it.',
  }),
}

export interface Paging {
  readonly limit: number
  readonly cursor?: string | undefined
  readonly order: 'newest_first' | 'oldest_first'
}

export function pageOf<Item extends z.ZodType>(item: Item) {
  return z.object({
    items: z.array(item),
    next: z.string().nullable().openapi({
      description:
        'Cursor of the next page. With oldest_first there is one at the end too: keep it, and ask again later.',
    }),
    more: z.boolean().openapi({ description: 'Whether there are more items now.' }),
  })
}

/** A page as it is answered. */
export function asPage<Row, Item>(
  page: Page<Row>,
  item: (row: Row) => Item,
): { items: Item[]; next: string | null; more: boolean } {
  return { items: page.rows.map(item), next: page.next ?? null, more: page.more }
}

/** Conditions of a where clause and their values, numbered as they come. */
export class Conditions {
  readonly values: unknown[] = []
  readonly #texts: string[] = []

  /** `text` with `?` for the value. Nothing where the value is `undefined`. */
  add(text: string, value: unknown): this {
    if (value !== undefined) this.#texts.push(text.replaceAll('?', `$${this.values.push(value)}`))
    return this
  }

  get text(): string {
    return this.#texts.join(' and ')
  }
}

/** One page of a table that has `id` and `visible_xid`. */
export async function readPage<Row extends { readonly id: string }>(
  client: Queryable,
  table: string,
  columns: string,
  conditions: Conditions,
  paging: Paging,
): Promise<Page<Row>> {
  const page = pageAfter({ ...paging, parameter: conditions.values.length + 1 })
  const { rows } = await client.query<Row & { page_xid: string }>(
    `select ${columns}, ${page.column} from ${table} where ${conditions.text} and ${page.where} ${page.tail}`,
    [...conditions.values, ...page.values],
  )
  return page.read(rows) as unknown as Page<Row>
}

/** A parameter that may be given several times, as a list. */
export function listOf<Item extends z.ZodType<unknown, string>>(item: Item, description: string) {
  return z
    .union([item, z.array(item)])
    .transform((given): z.output<Item>[] => (Array.isArray(given) ? given : [given]))
    .optional()
    .openapi({ description, param: { style: 'form', explode: true } })
}
