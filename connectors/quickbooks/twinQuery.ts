import type { TwinAnswer } from 'trestle/testing'
import { fault, type Books, type Entity, type EntityName } from './twinBooks.ts'

type Value = string | number | boolean

interface Condition {
  readonly field: string
  readonly operator: string
  readonly values: readonly Value[]
}

interface Query {
  readonly count: boolean
  readonly from: EntityName
  readonly where: readonly Condition[]
  readonly order: { readonly field: string; readonly descending: boolean } | undefined
  readonly start: number
  readonly limit: number
}

/** Fields that a query may ask by; others are refused, `PrivateNote` among them. */
const QUERYABLE: Readonly<Record<EntityName, readonly string[]>> = {
  Customer: [
    'Id',
    'DisplayName',
    'GivenName',
    'FamilyName',
    'CompanyName',
    'PrimaryEmailAddr',
    'Active',
    'Balance',
    'MetaData.CreateTime',
    'MetaData.LastUpdatedTime',
  ],
  Payment: ['Id', 'CustomerRef', 'TotalAmt', 'TxnDate', 'MetaData.CreateTime', 'MetaData.LastUpdatedTime'],
  Invoice: [
    'Id',
    'CustomerRef',
    'DocNumber',
    'TxnDate',
    'DueDate',
    'Balance',
    'TotalAmt',
    'MetaData.CreateTime',
    'MetaData.LastUpdatedTime',
  ],
}

/** Answers a query in Intuit's language. */
export function answerQuery(books: Books, statement: string): TwinAnswer {
  const query = parse(statement)
  const found = books.all(query.from).filter((entity) => matches(entity, query))
  if (query.count) return { status: 200, json: { QueryResponse: { totalCount: found.length } } }
  const page = sorted(found, query).slice(query.start - 1, query.start - 1 + query.limit)
  return {
    status: 200,
    json: {
      QueryResponse:
        page.length === 0 ? {} : { [query.from]: page, startPosition: query.start, maxResults: page.length },
    },
  }
}

const TOKEN = /'(?:\\.|[^'\\])*'|<=|>=|[=<>(),]|[^\s=<>(),']+/g

/** One word after the other. */
function parse(statement: string): Query {
  const tokens = statement.match(TOKEN) ?? []
  let at = 0
  const peek = (): string => (tokens[at] ?? '').toLowerCase()
  const take = (): string => tokens[at++] ?? ''
  const expectWord = (word: string): void => {
    if (take().toLowerCase() !== word) throw invalid(statement, `"${word}" was expected`)
  }

  expectWord('select')
  const selected: string[] = []
  while (at < tokens.length && peek() !== 'from') selected.push(take().toLowerCase())
  expectWord('from')
  const named = take().toLowerCase()
  const from = (Object.keys(QUERYABLE) as EntityName[]).find((name) => name.toLowerCase() === named)
  if (!from) throw invalid(statement, `the entity ${named} is unknown`)

  const fieldName = (): string => {
    const given = take()
    const field = QUERYABLE[from].find((one) => one.toLowerCase() === given.toLowerCase())
    if (field === undefined) throw invalid(statement, `property ${given} is not queryable`)
    return field
  }
  const condition = (): Condition => {
    const field = fieldName()
    const operator = take().toLowerCase()
    if (operator !== 'in') return { field, operator, values: [literal(take())] }
    const values: Value[] = []
    while (at < tokens.length && peek() !== ')') {
      const token = take()
      if (token !== '(' && token !== ',') values.push(literal(token))
    }
    expectWord(')')
    return { field, operator, values }
  }

  const where: Condition[] = []
  while (peek() === 'where' || peek() === 'and') {
    take()
    where.push(condition())
  }
  let order: Query['order']
  if (peek() === 'orderby' || peek() === 'order') {
    if (take().toLowerCase() === 'order') expectWord('by')
    const field = fieldName()
    const descending = peek() === 'desc'
    if (peek() === 'asc' || peek() === 'desc') take()
    order = { field, descending }
  }
  let start = 1
  let limit = 100
  while (peek() === 'startposition' || peek() === 'maxresults') {
    const word = take().toLowerCase()
    const number = Number(take())
    if (!(number >= 1)) throw invalid(statement, `${word} must be a number from 1`)
    if (word === 'startposition') start = number
    else limit = Math.min(number, 1000)
  }
  if (at < tokens.length) throw invalid(statement, `"${tokens[at]}" was not expected`)
  return { count: selected.join('') === 'count(*)', from, where, order, start, limit }
}

function literal(token: string): Value {
  if (token.startsWith("'")) return token.slice(1, -1).replaceAll(/\\(.)/g, '$1')
  if (token === 'true' || token === 'false') return token === 'true'
  return Number(token)
}

function matches(entity: Entity, { from, where }: Query): boolean {
  const conditions = where.some(({ field }) => field === 'Active')
    ? where
    : // Inactive customers are found only by those who ask for them.
      from === 'Customer'
      ? [...where, { field: 'Active', operator: '=', values: [true] }]
      : where
  return conditions.every((condition) => holds(entity, condition))
}

function holds(entity: Entity, { field, operator, values }: Condition): boolean {
  const actual = valueOf(entity, field)
  if (actual === undefined) return false
  const [wanted = ''] = values
  const order = compare(actual, wanted, field)
  switch (operator) {
    case '=':
      return order === 0
    case '<':
      return order < 0
    case '>':
      return order > 0
    case '<=':
      return order <= 0
    case '>=':
      return order >= 0
    case 'in':
      return values.some((value) => compare(actual, value, field) === 0)
    case 'like':
      return like(String(actual), String(wanted))
    default:
      throw invalid(operator, `the operator ${operator} is unknown`)
  }
}

/** References are asked by their value, e-mail addresses by their text. */
function valueOf(entity: Entity, field: string): Value | undefined {
  let here: unknown = entity
  for (const part of field.split('.')) here = (here as Record<string, unknown> | undefined)?.[part]
  if (here !== null && typeof here === 'object')
    here = (here as { value?: unknown }).value ?? (here as { Address?: unknown }).Address
  return here as Value | undefined
}

function compare(a: Value, b: Value, field: string): number {
  const [x, y] = [comparable(a, field), comparable(b, field)]
  return x < y ? -1 : x > y ? 1 : 0
}

function comparable(value: Value, field: string): string | number {
  if (field.startsWith('MetaData.')) return Date.parse(String(value))
  if (field === 'Id' || typeof value === 'number' || /Amt|Balance/.test(field)) return Number(value)
  return String(value).toLowerCase()
}

function like(text: string, pattern: string): boolean {
  const parts = pattern.split('%').map((part) => part.replaceAll(/[.*+?^${}()|[\]\\]/g, String.raw`\$&`))
  return new RegExp(`^${parts.join('.*')}$`, 'i').test(text)
}

function sorted(entities: Entity[], { order }: Query): Entity[] {
  if (!order) return entities
  const sign = order.descending ? -1 : 1
  const keyOf = (entity: Entity): Value => valueOf(entity, order.field) ?? ''
  return [...entities].sort((a, b) => sign * compare(keyOf(a), keyOf(b), order.field))
}

function invalid(statement: string, why: string) {
  return fault('4001', 'Error parsing query', `QueryValidationError: ${why} in: ${statement}`)
}
