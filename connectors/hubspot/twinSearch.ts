import type { TwinAnswer } from 'trestle/testing'
import {
  isObjectType,
  refusal,
  shown,
  type ObjectStore,
  type ObjectType,
  type StoredObject,
} from './twinObjects.ts'

interface Filter {
  readonly propertyName: string
  readonly operator: string
  readonly value?: string
  readonly highValue?: string
  readonly values?: readonly string[]
}

/** What a search asks for, after defaults. */
interface Wanted {
  readonly filterGroups: readonly { readonly filters: readonly Filter[] }[]
  readonly query: string
  readonly sorts: readonly { readonly propertyName: string; readonly direction?: string }[]
  readonly properties: readonly string[]
  readonly limit: number
  readonly after: number
}

/**
 * Answers a search from the lagging index, within HubSpot's limits: 5 groups, 6 filters a group, 18 in all (its
 * changelog of 2024 allows 10 and 25; others report these), pages of 200, 10,000 results.
 */
export function answerSearch(store: ObjectStore, type: ObjectType, body: unknown): TwinAnswer {
  const wanted = readWanted(body)
  const found = store
    .searchable(type)
    .filter((object) => matchesGroups(store, object, wanted) && matchesText(object, wanted.query))
  const sorted = sortBy(found, wanted)
  const page = sorted.slice(wanted.after, wanted.after + wanted.limit)
  const next = wanted.after + wanted.limit
  return {
    status: 200,
    json: {
      total: found.length,
      results: page.map((object) => shown(object, wanted.properties)),
      ...(next < found.length ? { paging: { next: { after: String(next) } } } : {}),
    },
  }
}

function readWanted(body: unknown): Wanted {
  const given = (body ?? {}) as Partial<Record<keyof Wanted, unknown>>
  const wanted: Wanted = {
    filterGroups: (given.filterGroups ?? []) as Wanted['filterGroups'],
    query: typeof given.query === 'string' ? given.query : '',
    sorts: (given.sorts ?? []) as Wanted['sorts'],
    properties: (given.properties ?? []) as string[],
    limit: typeof given.limit === 'number' ? given.limit : 10,
    after: Number(given.after ?? 0),
  }
  const counts = wanted.filterGroups.map(({ filters }) => filters.length)
  const all = counts.reduce((sum, count) => sum + count, 0)
  if (wanted.filterGroups.length > 5 || counts.some((count) => count > 6) || all > 18)
    throw refusal(400, 'VALIDATION_ERROR', 'There are too many filters in the search request.')
  if (wanted.limit > 200 || wanted.limit < 1)
    throw refusal(400, 'VALIDATION_ERROR', 'The limit must be between 1 and 200.')
  if (wanted.after + wanted.limit > 10_000)
    throw refusal(400, 'VALIDATION_ERROR', 'Searches are limited to 10,000 results.')
  return wanted
}

function matchesGroups(store: ObjectStore, object: StoredObject, { filterGroups }: Wanted): boolean {
  if (filterGroups.length === 0) return true
  return filterGroups.some(({ filters }) => filters.every((filter) => matchesFilter(store, object, filter)))
}

function matchesFilter(store: ObjectStore, object: StoredObject, filter: Filter): boolean {
  if (filter.propertyName.startsWith('associations.')) return isAssociated(store, object, filter)
  const value = object.properties[filter.propertyName]
  const { operator, value: wanted = '', highValue = '', values = [] } = filter
  switch (operator) {
    case 'HAS_PROPERTY':
      return value !== undefined
    case 'NOT_HAS_PROPERTY':
      return value === undefined
    case 'NEQ':
      return value?.toLowerCase() !== wanted.toLowerCase()
    case 'NOT_IN':
      return value === undefined || !values.includes(value.toLowerCase())
    default:
  }
  if (value === undefined) return false
  switch (operator) {
    case 'EQ':
      return comparable(value) === comparable(wanted)
    case 'GT':
      return comparable(value) > comparable(wanted)
    case 'GTE':
      return comparable(value) >= comparable(wanted)
    case 'LT':
      return comparable(value) < comparable(wanted)
    case 'LTE':
      return comparable(value) <= comparable(wanted)
    case 'BETWEEN':
      return comparable(value) >= comparable(wanted) && comparable(value) <= comparable(highValue)
    case 'IN':
      return values.includes(value.toLowerCase())
    case 'CONTAINS_TOKEN':
      return tokensOf(value).includes(wanted.replaceAll('*', '').toLowerCase())
    default:
      throw refusal(
        400,
        'VALIDATION_ERROR',
        `There was a problem with the request: operator ${operator} is unknown.`,
      )
  }
}

/** The pseudo-property `associations.contact`. */
function isAssociated(store: ObjectStore, object: StoredObject, filter: Filter): boolean {
  const type = `${filter.propertyName.slice('associations.'.length)}s`
  if (!isObjectType(type) || filter.operator !== 'EQ')
    throw refusal(400, 'VALIDATION_ERROR', `There was a problem with the request: ${filter.propertyName}.`)
  return store.associated(object, type).includes(filter.value ?? '')
}

function matchesText(object: StoredObject, query: string): boolean {
  if (query === '') return true
  return Object.values(object.properties).some((value) => value.toLowerCase().includes(query.toLowerCase()))
}

/** Dates and numbers are compared as numbers, whichever way they are written; text without regard to case. */
function comparable(text: string): number | string {
  if (/^-?\d+(\.\d+)?$/.test(text)) return Number(text)
  const date = /^\d{4}-\d\d-\d\dT/.test(text) ? Date.parse(text) : Number.NaN
  return Number.isNaN(date) ? text.toLowerCase() : date
}

function tokensOf(text: string): string[] {
  return text.toLowerCase().split(/[^\p{L}\p{N}@._-]+/u)
}

function sortBy(objects: StoredObject[], { sorts }: Wanted): StoredObject[] {
  const [sort] = sorts
  if (!sort) return objects
  const sign = sort.direction === 'DESCENDING' ? -1 : 1
  const keyOf = (object: StoredObject) => comparable(object.properties[sort.propertyName] ?? '')
  return [...objects].sort((a, b) => (keyOf(a) < keyOf(b) ? -sign : keyOf(a) > keyOf(b) ? sign : 0))
}
