import {
  Refusal,
  route,
  type KeyStore,
  type TwinAnswer,
  type TwinRequest,
  type TwinRoute,
} from 'trestle/testing'
import {
  pacificTime,
  type Books,
  type Entity,
  type EntityName,
  type Fields,
  type QuickbooksState,
} from './twinBooks.ts'
import { answerQuery } from './twinQuery.ts'
import { PAST_TENSE, type ChangeNote } from './twinWebhooks.ts'

type Request = TwinRequest<QuickbooksState>

/** What a write did. */
interface Done {
  readonly entity: Entity
  readonly operation: ChangeNote['operation']
}

/** The routes below a company. `told` hears of every change that a request made. */
export function companyRoutes(options: {
  readonly books: Books
  readonly keys: KeyStore
  readonly company: Fields & { readonly Id: string }
  readonly told: (change: ChangeNote) => void
}): TwinRoute<QuickbooksState>[] {
  const { books, keys, company, told } = options
  const PATH = '/v3/company/:realmId'

  const entityRoutes = (name: EntityName): TwinRoute<QuickbooksState>[] => {
    const path = `${PATH}/${name.toLowerCase()}`
    return [
      route('GET', `${path}/:id`, (request) =>
        shown(request, name, books.find(name, request.params['id'] ?? '')),
      ),
      route(
        'POST',
        path,
        (request) =>
          keys.once(request, keyOf(request), () =>
            answerRefusals(() => {
              const { entity, operation } = write(books, name, request)
              noteEffect(request, name, entity, operation)
              told({ name, id: entity.Id, operation })
              return shown(request, name, entity)
            }),
          ),
        { storesAnswers: true },
      ),
    ]
  }

  return [
    route('GET', `${PATH}/companyinfo/:id`, (request) => ({
      status: 200,
      json: { CompanyInfo: company, time: pacificTime(request.now) },
    })),
    route('GET', `${PATH}/query`, (request) => answerQuery(books, request.query.get('query') ?? '')),
    ...entityRoutes('Customer'),
    ...entityRoutes('Payment'),
    ...entityRoutes('Invoice'),
  ]
}

/** What a POST to an entity asks for: `operation` and `include` in the query say, else whether it has an Id. */
function write(books: Books, name: EntityName, request: Request): Done {
  const fields = (request.json ?? {}) as Fields
  const include = request.query.get('include')
  const operation = request.query.get('operation')
  if (name !== 'Customer' && (operation === 'void' || include === 'void'))
    return { entity: books.voidTransaction(name, fields), operation: 'Void' }
  if (operation === 'delete') return { entity: books.remove(name, String(fields['Id'])), operation: 'Delete' }
  if (operation === 'update' || fields['Id'] !== undefined)
    return { entity: books.update(name, fields), operation: 'Update' }
  const allowDuplicateNumber = include === 'allowduplicatedocnum'
  return { entity: books.create(name, fields, { allowDuplicateNumber }), operation: 'Create' }
}

/** A refusal is an answer too, and remembered with its requestid. */
function answerRefusals(act: () => TwinAnswer): TwinAnswer {
  try {
    return act()
  } catch (error) {
    if (error instanceof Refusal) return error.answer
    throw error
  }
}

function keyOf(request: Request): string | undefined {
  const id = request.query.get('requestid')
  return id === null ? undefined : `${request.params['realmId']} ${id}`
}

function shown(request: Request, name: EntityName, entity: Entity): TwinAnswer {
  return { status: 200, json: structuredClone({ [name]: entity, time: pacificTime(request.now) }) }
}

function noteEffect(
  request: Request,
  name: EntityName,
  entity: Entity,
  operation: ChangeNote['operation'],
): void {
  const what = name.toLowerCase()
  const done = PAST_TENSE[operation]
  const identity = identityOf(request, entity)
  const amount = typeof entity['TotalAmt'] === 'number' ? ` over ${entity['TotalAmt']}` : ''
  request.effect({
    kind: `${what}.${done}`,
    // A change is the same effect again only if it leads to the same version.
    key: operation === 'Create' ? identity : `${entity.Id} version ${entity.SyncToken}`,
    ref: entity.Id,
    summary: `${what} ${identity}${amount} ${done}`,
  })
}

/** What people know it by: a name, a number that the caller gave, the memo without the reference at its end. */
function identityOf(request: Request, entity: Entity): string {
  const given = (request.json ?? {}) as Fields
  const memo =
    typeof given['PrivateNote'] === 'string' ? given['PrivateNote'].replace(/\s*\[[^\]]*\]$/, '') : ''
  const names = [
    given['DisplayName'],
    given['PaymentRefNum'],
    given['DocNumber'],
    memo,
    request.query.get('requestid'),
  ]
  return names.find((name): name is string => typeof name === 'string' && name !== '') ?? entity.Id
}
