import {
  Refusal,
  route,
  type KeyStore,
  type TwinAnswer,
  type TwinRequest,
  type TwinRoute,
} from 'trestle/testing'
import {
  msDate,
  msOf,
  text,
  type Books,
  type Fields,
  type Kind,
  type Thing,
  type XeroState,
} from './twinBooks.ts'

type Request = TwinRequest<XeroState>

/** Something that a request or a person did. */
export interface ChangeNote {
  readonly kind: Kind
  readonly id: string
  readonly operation: 'CREATE' | 'UPDATE'
}

/** The routes of the accounting API. `told` hears of every change that a request made. */
export function accountingRoutes(options: {
  readonly books: Books
  readonly keys: KeyStore
  readonly organisation: Fields
  readonly told: (change: ChangeNote) => void
}): TwinRoute<XeroState>[] {
  const { books, keys, organisation, told } = options
  const PATH = '/api.xro/2.0'

  const write = (method: 'PUT' | 'POST', path: string, act: (request: Request) => TwinAnswer) =>
    route<XeroState>(
      method,
      path,
      (request) => keys.once(request, keyOf(request), () => answerRefusals(() => act(request))),
      { storesAnswers: true },
    )
  const done = (request: Request, kind: Kind, thing: Thing, operation: ChangeNote['operation']) => {
    noteEffect(request, kind, thing, operation)
    told({ kind, id: text(thing[`${kind}ID`]), operation })
    return shown(request, kind, [thing])
  }
  const routesOf = (kind: Kind): TwinRoute<XeroState>[] => {
    const path = `${PATH}/${kind}s`
    return [
      route('GET', path, (request) => list(request, kind, books)),
      route('GET', `${path}/:id`, (request) =>
        shown(request, kind, [books.find(kind, request.params['id'] ?? '')]),
      ),
      write('PUT', path, (request) =>
        done(request, kind, books.create(kind, givenFields(request, kind)), 'CREATE'),
      ),
      write('POST', `${path}/:id`, (request) =>
        done(
          request,
          kind,
          books.update(kind, request.params['id'] ?? '', givenFields(request, kind)),
          'UPDATE',
        ),
      ),
    ]
  }

  return [
    route('GET', `${PATH}/Organisation`, (request) => ({
      status: 200,
      json: { ...envelope(request), Organisations: [organisation] },
    })),
    ...routesOf('Contact'),
    ...routesOf('Invoice'),
    ...routesOf('Payment'),
  ]
}

/** The one thing in the body: in a list of its kind, or by itself. */
function givenFields(request: Request, kind: Kind): Fields {
  const body = (request.json ?? {}) as Record<string, unknown>
  const many = body[`${kind}s`]
  return (Array.isArray(many) ? (many[0] as Fields | undefined) : body) ?? {}
}

/** A list: filtered, in the order that was asked for, in pages where a page was asked for. */
function list(request: Request, kind: Kind, books: Books): TwinAnswer {
  const { query, headers } = request
  const since = headers['if-modified-since']
  const ids = (name: string): string[] | undefined => query.get(name)?.split(',')
  const contacts = ids('ContactIDs')
  const statuses = ids('Statuses')
  const term = query.get('searchTerm')?.toLowerCase()
  const passes = filterOf(query.get('where'))
  const found = books
    .all(kind)
    .filter((one) => since === undefined || msOf(one.UpdatedDateUTC) >= Date.parse(`${since.slice(0, 19)}Z`))
    .filter((one) => contacts?.includes(text((one['Contact'] as Fields)['ContactID'])) ?? true)
    .filter((one) => statuses?.includes(text(one['Status'])) ?? true)
    .filter(
      (one) =>
        kind !== 'Contact' || query.get('includeArchived') === 'true' || one['ContactStatus'] !== 'ARCHIVED',
    )
    .filter((one) => term === undefined || searched(kind, one).includes(term))
    .filter(passes)
  const ordered = orderOf(query.get('order'), found)
  const page = Number(query.get('page') ?? 0)
  if (page === 0) return shown(request, kind, ordered)
  const pageSize = Math.min(Number(query.get('pageSize') ?? 100), 1000)
  return shown(request, kind, ordered.slice((page - 1) * pageSize, page * pageSize), {
    pagination: {
      page,
      pageSize,
      pageCount: Math.ceil(ordered.length / pageSize),
      itemCount: ordered.length,
    },
  })
}

/** Text that a search looks into. */
function searched(kind: Kind, one: Thing): string {
  const names =
    kind === 'Contact'
      ? ['Name', 'FirstName', 'LastName', 'ContactNumber', 'EmailAddress']
      : ['InvoiceNumber', 'Reference']
  return names.map((name) => text(one[name]).toLowerCase()).join('\n')
}

/** `Field=="value"`, also several joined by AND. What else Xero's filters can is refused. */
function filterOf(where: string | null): (one: Thing) => boolean {
  if (where === null) return () => true
  const conditions = where.split(/ and /i).map((condition) => {
    const match = /^\s*(\w+)\s*==\s*"([^"]*)"\s*$/.exec(condition)
    if (!match)
      throw new Refusal({
        status: 400,
        json: { ErrorNumber: 16, Type: 'QueryParseException', Message: `Cannot parse "${condition}"` },
      })
    return [match[1]!, match[2]!.toLowerCase()] as const
  })
  return (one) => conditions.every(([name, value]) => text(one[name]).toLowerCase() === value)
}

/** Only the order that pages need; others come as the books have them. */
function orderOf(order: string | null, found: Thing[]): Thing[] {
  const direction = /^UpdatedDateUTC( ASC| DESC)?$/i.exec(order ?? '')
  if (!direction) return found
  const sign = / DESC/i.test(direction[1] ?? '') ? -1 : 1
  return found.toSorted((a, b) => sign * (msOf(a.UpdatedDateUTC) - msOf(b.UpdatedDateUTC)))
}

/** A refusal is an answer too, and remembered with its key. */
function answerRefusals(act: () => TwinAnswer): TwinAnswer {
  try {
    return act()
  } catch (error) {
    if (error instanceof Refusal) return error.answer
    throw error
  }
}

function keyOf({ headers }: Request): string | undefined {
  const key = headers['idempotency-key']
  return key === undefined ? undefined : `${headers['xero-tenant-id']} ${key}`
}

function envelope({ number, now }: Request) {
  return {
    Id: `00000000-0000-4000-8000-${String(number).padStart(12, '0')}`,
    Status: 'OK',
    ProviderName: 'Trestle',
    DateTimeUTC: msDate(now).replace('+0000', ''),
  }
}

function shown(request: Request, kind: Kind, things: readonly Thing[], more: Fields = {}): TwinAnswer {
  return { status: 200, json: structuredClone({ ...envelope(request), ...more, [`${kind}s`]: things }) }
}

function noteEffect(request: Request, kind: Kind, thing: Thing, operation: ChangeNote['operation']): void {
  const what = kind.toLowerCase()
  const id = text(thing[`${kind}ID`])
  const given = givenFields(request, kind)
  const isEnd = given['Status'] === 'VOIDED' || given['Status'] === 'DELETED'
  const done = operation === 'CREATE' ? 'created' : isEnd ? text(given['Status']).toLowerCase() : 'updated'
  const identity = identityOf(given) ?? text(request.headers['idempotency-key'])
  const amount = thing['Total'] ?? thing['Amount']
  request.effect({
    kind: `${what}.${done}`,
    // An update is the same effect again if it says the same.
    key: operation === 'CREATE' ? identity : `${id} ${JSON.stringify(given)}`,
    ref: id,
    summary: `${what} ${identity}${typeof amount === 'number' ? ` over ${amount}` : ''} ${done}`,
  })
}

/** What people know it by: a name, a number, a reference without the mark at its end. */
function identityOf(given: Fields): string | undefined {
  const reference = text(given['Reference']).replace(/\s*\[?trestle-[0-9a-f]{20}\]?$/, '')
  return [given['Name'], given['InvoiceNumber'], reference].map(text).find((name) => name !== '')
}
