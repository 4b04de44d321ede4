import { route, type TwinAnswer, type TwinRequest, type TwinRoute } from 'trestle/testing'
import {
  isObjectType,
  refusal,
  shown,
  type Change,
  type HubspotState,
  type ObjectStore,
  type ObjectType,
  type StoredObject,
} from './twinObjects.ts'
import { answerSearch } from './twinSearch.ts'

type Request = TwinRequest<HubspotState>

/** The routes under `/crm`. `told` hears of every change that a request made. */
export function crmRoutes(
  store: ObjectStore,
  told: (changes: readonly Change[]) => void,
): TwinRoute<HubspotState>[] {
  const PATH = '/crm/v3/objects/:type'

  const write = (request: Request, change: Change): StoredObject => {
    noteEffect(request, change)
    return change.object
  }
  const upsert = (request: Request, type: ObjectType, input: BatchInput): Change => {
    if (type !== 'contacts' || input.idProperty !== 'email')
      throw refusal(400, 'VALIDATION_ERROR', `${input.idProperty} is not a unique property of ${type}.`)
    const properties = { ...input.properties, email: input.properties?.['email'] ?? input.id }
    const existing = store.byEmail(input.id)
    const change = existing ? store.update(existing, properties) : store.create(type, properties)
    write(request, change)
    return change
  }

  return [
    route('POST', `${PATH}/search`, (request) => answerSearch(store, typeOf(request), request.json)),
    route('POST', `${PATH}/batch/upsert`, (request) => {
      const type = typeOf(request)
      const inputs = inputsOf(request)
      const changes = inputs.map((input) => upsert(request, type, input))
      told(changes)
      return batchAnswer(
        request,
        changes.map(({ object, how }, i) => ({
          ...shown(object, Object.keys(inputs[i]?.properties ?? {})),
          new: how === 'created',
        })),
      )
    }),
    route('POST', `${PATH}/batch/read`, (request) => {
      const type = typeOf(request)
      const { properties = [], idProperty } = request.json as { properties?: string[]; idProperty?: string }
      const found = inputsOf(request).flatMap(({ id }) => seek(store, type, id, idProperty) ?? [])
      return batchAnswer(
        request,
        found.map((object) => shown(object, properties)),
      )
    }),
    route('POST', PATH, (request) => {
      const type = typeOf(request)
      const { properties = {}, associations = [] } = request.json as CreateBody
      const targets = associations.map(({ to, types }) => targetOf(store, type, String(to.id), types))
      const change = store.create(type, properties)
      for (const target of targets) store.associate(change.object, target)
      write(request, change)
      told([change])
      return { status: 201, json: shown(change.object, Object.keys(properties)) }
    }),
    route('GET', PATH, (request) => listAnswer(store, request)),
    route('GET', `${PATH}/:id`, (request) => {
      const object = sought(store, request)
      const wanted = request.query.get('associations')?.split(',') ?? []
      return {
        status: 200,
        json: {
          ...shown(object, askedFor(request)),
          ...(wanted.length === 0 ? {} : { associations: associationsOf(store, object, wanted) }),
        },
      }
    }),
    route('PATCH', `${PATH}/:id`, (request) => {
      const { properties = {} } = request.json as CreateBody
      const change = store.update(sought(store, request), properties)
      write(request, change)
      told([change])
      return { status: 200, json: shown(change.object, Object.keys(properties)) }
    }),
    route('DELETE', `${PATH}/:id`, (request) => {
      const object = store.find(typeOf(request), request.params['id'] ?? '')
      if (object) {
        store.archive(object)
        const kind = `${object.type.slice(0, -1)}.archived`
        request.effect({
          kind,
          key: object.id,
          ref: object.id,
          summary: `${object.type} ${object.id} archived`,
        })
      }
      return { status: 204 }
    }),
    route('GET', '/crm/v4/objects/:type/:id/associations/:to', (request) => {
      const to = request.params['to'] ?? ''
      if (!isObjectType(to)) throw refusal(400, 'VALIDATION_ERROR', `Unable to infer object type from: ${to}`)
      const results = store.associated(sought(store, request), to).map((id) => ({
        toObjectId: Number(id),
        associationTypes: [{ category: 'HUBSPOT_DEFINED', typeId: 202, label: null }],
      }))
      return { status: 200, json: { results } }
    }),
  ]
}

interface BatchInput {
  readonly id: string
  readonly idProperty?: string
  readonly properties?: Record<string, string>
}

interface CreateBody {
  readonly properties?: Record<string, string>
  readonly associations?: readonly {
    readonly to: { readonly id: string | number }
    readonly types: readonly { readonly associationTypeId: number }[]
  }[]
}

/** What HubSpot's own association types join. */
const ASSOCIATION_TARGETS: Readonly<Record<string, ObjectType>> = {
  'notes 202': 'contacts',
  'notes 214': 'deals',
  'deals 3': 'contacts',
}

function targetOf(
  store: ObjectStore,
  type: ObjectType,
  id: string,
  types: readonly { readonly associationTypeId: number }[],
): StoredObject {
  const typeId = types[0]?.associationTypeId
  const target = ASSOCIATION_TARGETS[`${type} ${typeId}`]
  if (target === undefined)
    throw refusal(400, 'VALIDATION_ERROR', `association type ${typeId} is not valid from ${type}.`)
  const found = store.find(target, id)
  if (!found) throw refusal(404, 'OBJECT_NOT_FOUND', `No ${target.slice(0, -1)} with id ${id} exists.`)
  return found
}

function typeOf(request: Request): ObjectType {
  const type = request.params['type'] ?? ''
  if (!isObjectType(type)) throw refusal(400, 'VALIDATION_ERROR', `Unable to infer object type from: ${type}`)
  return type
}

function seek(
  store: ObjectStore,
  type: ObjectType,
  id: string,
  idProperty: string | null | undefined,
): StoredObject | undefined {
  return type === 'contacts' && idProperty === 'email' ? store.byEmail(id) : store.find(type, id)
}

function sought(store: ObjectStore, request: Request): StoredObject {
  const found = seek(store, typeOf(request), request.params['id'] ?? '', request.query.get('idProperty'))
  if (!found) throw refusal(404, 'OBJECT_NOT_FOUND', 'resource not found')
  return found
}

function askedFor(request: Request): string[] {
  return request.query.getAll('properties').flatMap((names) => names.split(','))
}

function inputsOf(request: Request): readonly BatchInput[] {
  const { inputs } = (request.json ?? {}) as { inputs?: readonly BatchInput[] }
  if (!Array.isArray(inputs) || inputs.length === 0 || inputs.length > 100)
    throw refusal(400, 'VALIDATION_ERROR', 'A batch has 1 to 100 inputs.')
  return inputs as readonly BatchInput[]
}

function batchAnswer(request: Request, results: readonly unknown[]): TwinAnswer {
  const now = new Date(request.now).toISOString()
  return { status: 200, json: { status: 'COMPLETE', results, startedAt: now, completedAt: now } }
}

/** A page in the order of ids; `after` is the id to go on from. */
function listAnswer(store: ObjectStore, request: Request): TwinAnswer {
  const limit = Number(request.query.get('limit') ?? 10)
  if (limit < 1 || limit > 100) throw refusal(400, 'VALIDATION_ERROR', 'The limit must be between 1 and 100.')
  const from = Number(request.query.get('after') ?? 0)
  const rest = store.all(typeOf(request)).filter(({ id }) => Number(id) >= from)
  const next = rest[limit]
  return {
    status: 200,
    json: {
      results: rest.slice(0, limit).map((object) => shown(object, askedFor(request))),
      ...(next ? { paging: { next: { after: next.id, link: `?after=${next.id}` } } } : {}),
    },
  }
}

function associationsOf(store: ObjectStore, object: StoredObject, types: readonly string[]) {
  return Object.fromEntries(
    types.filter(isObjectType).map((type) => [
      type,
      {
        results: store
          .associated(object, type)
          .map((id) => ({ id, type: `${object.type.slice(0, -1)}_to_${type.slice(0, -1)}` })),
      },
    ]),
  )
}

function noteEffect(request: Request, { how, object }: Change): void {
  if (how === 'unchanged') return
  const what = object.type.slice(0, -1)
  const identity = identityOf(request, object)
  request.effect({
    kind: `${what}.${how}`,
    // An update is the same effect again only if it leads to the same version.
    key: how === 'created' ? identity : `${identity} version ${object.version}`,
    ref: object.id,
    summary: `${what} ${identity} ${how}`,
  })
}

/** What people know an object by: an address, a name, the text of a note without the reference at its end. */
function identityOf(request: Request, { type, id, properties }: StoredObject): string {
  if (type === 'contacts') return properties['email'] ?? id
  if (type === 'deals') return properties['dealname'] ?? id
  const { associations = [] } = request.json as CreateBody
  const contact = String(associations[0]?.to.id ?? 'nobody')
  return `on ${contact}: ${(properties['hs_note_body'] ?? '').replace(/(<br>)*\[[^\]]*\]$/, '')}`
}
