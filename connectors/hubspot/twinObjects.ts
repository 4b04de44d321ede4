import { createLaggingIndex, Refusal, type Clock, type LaggingIndex, type TwinAnswer } from 'trestle/testing'

export type ObjectType = 'contacts' | 'notes' | 'deals'

/** An object as the twin keeps it. */
export interface StoredObject {
  readonly id: string
  readonly type: ObjectType
  properties: Record<string, string>
  readonly createdAt: string
  updatedAt: string
  archived: boolean
  /** How often it was changed. */
  version: number
}

/** Everything in the portal. */
export interface HubspotState {
  readonly objects: Record<ObjectType, Map<string, StoredObject>>
  /** Pairs of objects, as `notes/5 contacts/3`. */
  readonly associations: Set<string>
}

/** What was done to an object, for effects and webhooks. */
export interface Change {
  readonly how: 'created' | 'updated' | 'unchanged'
  readonly object: StoredObject
  /** The properties that are different now. */
  readonly changed: Readonly<Record<string, string>>
}

/** Properties that HubSpot gives without being asked. */
const DEFAULTS: Readonly<Record<ObjectType, readonly string[]>> = {
  contacts: ['createdate', 'email', 'firstname', 'hs_object_id', 'lastmodifieddate', 'lastname'],
  notes: ['hs_createdate', 'hs_lastmodifieddate', 'hs_object_id'],
  deals: [
    'amount',
    'closedate',
    'createdate',
    'dealname',
    'dealstage',
    'hs_lastmodifieddate',
    'hs_object_id',
    'pipeline',
  ],
}

/** Properties that may be written, besides those that the test adds. An unknown one is refused. */
const WRITABLE: Readonly<Record<ObjectType, readonly string[]>> = {
  contacts: [
    'email',
    'firstname',
    'lastname',
    'phone',
    'mobilephone',
    'company',
    'lifecyclestage',
    'hs_lead_status',
    'jobtitle',
    'address',
    'city',
    'zip',
    'country',
    'website',
  ],
  notes: ['hs_note_body', 'hs_timestamp', 'hubspot_owner_id', 'hs_attachment_ids'],
  deals: [
    'dealname',
    'dealstage',
    'pipeline',
    'amount',
    'closedate',
    'description',
    'hubspot_owner_id',
    'dealtype',
  ],
}

/** What HubSpot sets where the caller does not. */
const STANDARD: Readonly<Record<ObjectType, Readonly<Record<string, string>>>> = {
  contacts: {},
  notes: {},
  deals: { pipeline: 'default' },
}

/** The property that says when an object was last changed. */
const modifiedName = (type: ObjectType): string =>
  type === 'contacts' ? 'lastmodifieddate' : 'hs_lastmodifieddate'
const createdName = (type: ObjectType): string => (type === 'notes' ? 'hs_createdate' : 'createdate')

export function isObjectType(name: string | undefined): name is ObjectType {
  return name === 'contacts' || name === 'notes' || name === 'deals'
}

/** The portal's objects, their rules and the search index, which lags. */
export function createObjectStore(options: {
  readonly clock: Clock
  readonly lagMs: number
  readonly extraProperties: readonly string[]
  readonly state: HubspotState
}) {
  const { clock, state } = options
  const indexes: Record<ObjectType, LaggingIndex<StoredObject>> = {
    contacts: createLaggingIndex(options),
    notes: createLaggingIndex(options),
    deals: createLaggingIndex(options),
  }
  let lastId = 100

  const index = (object: StoredObject): void => {
    if (object.archived) indexes[object.type].delete(object.id)
    else indexes[object.type].put(object.id, structuredClone(object))
  }

  const checkProperties = (type: ObjectType, properties: Record<string, string>): void => {
    const unknown = Object.keys(properties).find(
      (name) => !WRITABLE[type].includes(name) && !options.extraProperties.includes(name),
    )
    if (unknown !== undefined)
      throw refusal(400, 'VALIDATION_ERROR', `Property "${unknown}" does not exist`, 'PROPERTY_DOESNT_EXIST')
    const { email } = properties
    if (type === 'contacts' && email !== undefined && !/^[^\s@]+@[^\s@]+\.[^\s@]+$/.test(email))
      throw refusal(400, 'VALIDATION_ERROR', `Email address ${email} is invalid`, 'INVALID_EMAIL')
  }

  const normalized = (type: ObjectType, properties: Record<string, string>): Record<string, string> =>
    type === 'contacts' && properties['email'] !== undefined
      ? { ...properties, email: properties['email'].toLowerCase() }
      : type === 'notes' && properties['hs_timestamp'] !== undefined
        ? { ...properties, hs_timestamp: isoOf(properties['hs_timestamp']) }
        : properties

  const byEmail = (email: string): StoredObject | undefined =>
    [...state.objects.contacts.values()].find(
      (one) => !one.archived && one.properties['email'] === email.toLowerCase(),
    )

  const store = {
    find(type: ObjectType, id: string): StoredObject | undefined {
      const found = state.objects[type].get(id)
      return found?.archived ? undefined : found
    },
    byEmail,
    all: (type: ObjectType): StoredObject[] =>
      [...state.objects[type].values()].filter((one) => !one.archived),
    /** Objects as the search index knows them. */
    searchable: (type: ObjectType): StoredObject[] => indexes[type].search(),
    create(type: ObjectType, given: Record<string, string>): Change {
      checkProperties(type, given)
      const properties = { ...STANDARD[type], ...normalized(type, given) }
      requireFields(type, properties)
      const existing = properties['email'] === undefined ? undefined : byEmail(properties['email'])
      if (type === 'contacts' && existing)
        throw refusal(409, 'CONFLICT', `Contact already exists. Existing ID: ${existing.id}`)
      const id = String(++lastId)
      const now = new Date(clock.now()).toISOString()
      const object: StoredObject = {
        id,
        type,
        properties: { ...properties, hs_object_id: id, [createdName(type)]: now, [modifiedName(type)]: now },
        createdAt: now,
        updatedAt: now,
        archived: false,
        version: 1,
      }
      state.objects[type].set(id, object)
      index(object)
      return { how: 'created', object, changed: properties }
    },
    update(object: StoredObject, given: Record<string, string>): Change {
      checkProperties(object.type, given)
      const properties = normalized(object.type, given)
      const owner = properties['email'] === undefined ? undefined : byEmail(properties['email'])
      if (object.type === 'contacts' && owner && owner.id !== object.id)
        throw refusal(409, 'CONFLICT', `Contact already exists. Existing ID: ${owner.id}`)
      const changed = Object.fromEntries(
        Object.entries(properties).filter(([name, value]) => object.properties[name] !== value),
      )
      if (Object.keys(changed).length === 0) return { how: 'unchanged', object, changed }
      const now = new Date(clock.now()).toISOString()
      object.properties = { ...object.properties, ...changed, [modifiedName(object.type)]: now }
      object.updatedAt = now
      object.version++
      index(object)
      return { how: 'updated', object, changed }
    },
    archive(object: StoredObject): void {
      object.archived = true
      index(object)
    },
    restore(object: StoredObject): void {
      object.archived = false
      index(object)
    },
    associate(from: StoredObject, to: StoredObject): void {
      state.associations.add(`${from.type}/${from.id} ${to.type}/${to.id}`)
      state.associations.add(`${to.type}/${to.id} ${from.type}/${from.id}`)
    },
    /** Ids of the objects of `type` that are associated with this one. */
    associated(object: StoredObject, type: ObjectType): string[] {
      const start = `${object.type}/${object.id} ${type}/`
      return [...state.associations]
        .filter((pair) => pair.startsWith(start))
        .map((pair) => pair.slice(start.length))
    },
  }
  return store
}

export type ObjectStore = ReturnType<typeof createObjectStore>

/** An object as the API shows it: the default properties, those that were set by this call, and those asked for. */
export function shown(object: StoredObject, asked: readonly string[] = []): Record<string, unknown> {
  const names = [...DEFAULTS[object.type], ...asked]
  const given = names.filter((name) => asked.includes(name) || object.properties[name] !== undefined)
  return {
    id: object.id,
    properties: Object.fromEntries(
      [...new Set(given)].sort().map((name) => [name, object.properties[name] ?? null]),
    ),
    createdAt: object.createdAt,
    updatedAt: object.updatedAt,
    archived: object.archived,
  }
}

/** An error in HubSpot's form. */
export function errorJson(status: number, category: string, message: string, subCategory?: string) {
  return {
    status: 'error',
    message,
    correlationId: `00000000-0000-4000-8000-${String(status).padStart(12, '0')}`,
    category,
    ...(subCategory === undefined ? {} : { subCategory }),
  }
}

export function refusal(status: number, category: string, message: string, subCategory?: string): Refusal {
  return new Refusal(refused(status, category, message, subCategory))
}

export function refused(status: number, category: string, message: string, subCategory?: string): TwinAnswer {
  return { status, json: errorJson(status, category, message, subCategory) }
}

function requireFields(type: ObjectType, properties: Record<string, string>): void {
  const required = type === 'notes' ? ['hs_timestamp'] : type === 'deals' ? ['dealname', 'dealstage'] : []
  const missing = required.find((name) => properties[name] === undefined)
  if (missing !== undefined)
    throw refusal(
      400,
      'VALIDATION_ERROR',
      `Error creating ${type}. Some required properties were not set: ${missing}.`,
    )
  if ((properties['hs_note_body']?.length ?? 0) > 65_536)
    throw refusal(400, 'VALIDATION_ERROR', 'hs_note_body is limited to 65536 characters.')
}

/** Date properties are taken as milliseconds or ISO 8601, and given as ISO 8601. */
function isoOf(text: string): string {
  const date = new Date(/^\d+$/.test(text) ? Number(text) : text)
  if (Number.isNaN(date.getTime())) throw refusal(400, 'VALIDATION_ERROR', `${text} is not a valid date.`)
  return date.toISOString()
}
