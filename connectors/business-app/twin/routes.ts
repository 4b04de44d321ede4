import { createHash } from 'node:crypto'
import type { JsonValue } from 'trestle'
import {
  Refusal,
  route,
  type KeyStore,
  type TwinAnswer,
  type TwinRequest,
  type TwinRoute,
} from 'trestle/testing'

/** One record in the app. */
export interface StoredRecord {
  readonly id: string
  readonly collection: string
  readonly key: string | null
  readonly fields: { readonly [name: string]: JsonValue }
  readonly createdAt: string
  readonly updatedAt: string
}

export interface BusinessState {
  /** Events that the app was told, in order. */
  readonly events: { readonly id: string; readonly type: string; readonly data: JsonValue }[]
  /** Records by `collection/id`, in the order of creation. */
  readonly records: Map<string, StoredRecord>
}

type Asked = TwinRequest<BusinessState>

/** The routes that README.md asks of an app. */
export function businessRoutes(newId: () => string, keys: KeyStore): readonly TwinRoute<BusinessState>[] {
  const once = (asked: Asked, act: () => TwinAnswer): Promise<TwinAnswer> =>
    keys.once(asked, asked.headers['webhook-id'], act)
  return [
    route('GET', '/ping', () => ({ status: 200, json: { ok: true } })),
    route('POST', '/events', (asked) => once(asked, () => hear(asked)), { storesAnswers: true }),
    route('POST', '/records/:collection', (asked) => once(asked, () => create(asked, newId())), {
      storesAnswers: true,
    }),
    route('PUT', '/records/:collection/:id', put),
    route('DELETE', '/records/:collection/:id', remove),
    route('GET', '/records/:collection/:id', ({ params, state }) => {
      const found = state.records.get(`${params['collection']}/${params['id']}`)
      return found
        ? { status: 200, json: found }
        : { status: 404, json: problem(404, 'There is no such record.') }
    }),
    route('GET', '/records/:collection', list),
  ]
}

/** RFC 9457. */
export function problem(status: number, detail: string): { type: string; status: number; detail: string } {
  return { type: 'about:blank', status, detail }
}

function hear(asked: Asked): TwinAnswer {
  const { type, data } = bodyOf(asked)
  if (typeof type !== 'string' || data === undefined) return refuse(400, 'Send { type, timestamp, data }.')
  const id = asked.headers['webhook-id'] ?? ''
  asked.state.events.push({ id, type, data })
  asked.effect({ kind: 'event.received', key: `${type} ${digest(data)}`, ref: id, summary: `told ${type}` })
  return { status: 202 }
}

function create(asked: Asked, id: string): TwinAnswer {
  const { collection, fields } = bodyOf(asked)
  const wanted = same(asked, 'collection', collection)
  const now = new Date(asked.now).toISOString()
  const made: StoredRecord = {
    id,
    collection: wanted,
    key: asked.headers['webhook-id'] ?? null,
    fields: fieldsOf(fields),
    createdAt: now,
    updatedAt: now,
  }
  asked.state.records.set(`${wanted}/${id}`, made)
  asked.effect({
    kind: 'record.created',
    key: `${wanted} ${digest(made.fields)}`,
    ref: id,
    summary: `record in ${wanted}`,
  })
  return { status: 201, json: made }
}

function put(asked: Asked): TwinAnswer {
  const { collection, id: given, fields } = bodyOf(asked)
  const wanted = same(asked, 'collection', collection)
  const id = same(asked, 'id', given)
  const at = `${wanted}/${id}`
  const before = asked.state.records.get(at)
  const after = fieldsOf(fields)
  if (before && digest(before.fields) === digest(after)) return { status: 200, json: before }
  const now = new Date(asked.now).toISOString()
  const record: StoredRecord = {
    id,
    collection: wanted,
    key: before ? before.key : (asked.headers['webhook-id'] ?? null),
    fields: after,
    createdAt: before?.createdAt ?? now,
    updatedAt: now,
  }
  asked.state.records.set(at, record)
  asked.effect({
    kind: before ? 'record.replaced' : 'record.created',
    key: `${at} ${digest(after)}`,
    ref: id,
    summary: `record in ${wanted}`,
  })
  return { status: before ? 200 : 201, json: record }
}

function remove(asked: Asked): TwinAnswer {
  const { collection, id: given } = bodyOf(asked)
  const wanted = same(asked, 'collection', collection)
  const id = same(asked, 'id', given)
  const at = `${wanted}/${id}`
  if (!asked.state.records.delete(at)) return { status: 404, json: problem(404, 'There is no such record.') }
  asked.effect({ kind: 'record.deleted', key: at, ref: id, summary: `record of ${wanted} deleted` })
  return { status: 204 }
}

function list({ params, query, state }: Asked): TwinAnswer {
  const key = query.get('key')
  const field = query.get('field')
  const records = [...state.records.values()]
    .filter(({ collection }) => collection === params['collection'])
    .filter((one) => key === null || one.key === key)
    .filter((one) => field === null || one.fields[field] === query.get('equals'))
    .reverse()
    .slice(0, Number(query.get('limit') ?? 20))
  return { status: 200, json: { records } }
}

function bodyOf({ json }: Asked): { [name: string]: JsonValue } {
  if (json === null || typeof json !== 'object' || Array.isArray(json))
    return refuse(400, 'Send a JSON object.')
  return json as { [name: string]: JsonValue }
}

/** What is signed is the body: a path that says something else is somebody else's. */
function same({ params }: Asked, name: 'collection' | 'id', inBody: JsonValue | undefined): string {
  if (typeof inBody !== 'string' || inBody !== params[name])
    return refuse(400, `The ${name} in the body is not the one in the path.`)
  return inBody
}

function fieldsOf(value: JsonValue | undefined): { [name: string]: JsonValue } {
  if (value === null || typeof value !== 'object' || Array.isArray(value))
    return refuse(400, 'fields must be a JSON object.')
  return value as { [name: string]: JsonValue }
}

function refuse(status: number, detail: string): never {
  throw new Refusal({ status, json: problem(status, detail) })
}

function digest(value: JsonValue): string {
  const text = JSON.stringify(value, (_name, inner: unknown) =>
    typeof inner === 'bigint' ? String(inner) : inner,
  )
  return createHash('sha256').update(text).digest('hex').slice(0, 16)
}
