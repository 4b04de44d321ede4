import { Refusal, type Clock, type TwinAnswer } from 'trestle/testing'

export type EntityName = 'Customer' | 'Payment' | 'Invoice'

/** An entity as the API shows it. */
export interface Entity {
  readonly Id: string
  SyncToken: string
  MetaData: { readonly CreateTime: string; LastUpdatedTime: string }
  [field: string]: unknown
}

/** The company's books. */
export interface QuickbooksState {
  readonly entities: Record<EntityName, Map<string, Entity>>
  nextId: number
  nextDocNumber: number
}

export type Fields = Readonly<Record<string, unknown>>

/** The books and their rules. Every method either does the whole thing or refuses with Intuit's fault. */
export interface Books {
  find(name: EntityName, id: string): Entity
  all(name: EntityName): Entity[]
  create(name: EntityName, fields: Fields, options?: { allowDuplicateNumber?: boolean }): Entity
  /** Changes the named fields. `SyncToken` must be the newest. */
  update(name: EntityName, fields: Fields): Entity
  /** Sets the amounts to zero. `SyncToken` must be the newest. */
  voidTransaction(name: 'Payment' | 'Invoice', fields: Fields): Entity
  /** Takes it out of the books; customers become inactive. */
  remove(name: EntityName, id: string): Entity
}

export function createBooks(options: {
  readonly clock: Clock
  readonly state: QuickbooksState
  /** The company's home currency. */
  readonly currency: string
}): Books {
  const { clock, state } = options
  const now = (): string => pacificTime(clock.now())
  const today = (): string => now().slice(0, 10)

  const find = (name: EntityName, id: string): Entity => {
    const found = state.entities[name].get(id)
    if (!found) throw fault('610', 'Object Not Found', `Object Not Found : ${name} ${id} is not there.`)
    return found
  }
  const newest = (name: EntityName, fields: Fields): Entity => {
    const entity = find(name, text(fields['Id']))
    if (fields['SyncToken'] !== entity.SyncToken)
      throw fault(
        '5010',
        'Stale Object Error',
        'Stale Object Error : You and somebody else were working on this at the same time.',
      )
    return entity
  }
  const touch = (entity: Entity): Entity => {
    entity.SyncToken = String(Number(entity.SyncToken) + 1)
    entity.MetaData = { ...entity.MetaData, LastUpdatedTime: now() }
    return entity
  }
  const keep = (name: EntityName, fields: Fields): Entity => {
    const entity: Entity = {
      ...fields,
      domain: 'QBO',
      sparse: false,
      Id: String(state.nextId++),
      SyncToken: '0',
      MetaData: { CreateTime: now(), LastUpdatedTime: now() },
    }
    state.entities[name].set(entity.Id, entity)
    return entity
  }

  const checkName = (displayName: string, except?: string): void => {
    const taken = [...state.entities.Customer.values()].some(
      (one) => one.Id !== except && text(one['DisplayName']).toLowerCase() === displayName.toLowerCase(),
    )
    if (taken)
      throw fault(
        '6240',
        'Duplicate Name Exists Error',
        'The name supplied already exists. : Another customer is already using this name.',
      )
  }
  const customerOf = (fields: Fields): { value: string; name: string } => {
    const id = text((fields['CustomerRef'] as Fields | undefined)?.['value'])
    if (id === '') throw missing('CustomerRef')
    const customer = state.entities.Customer.get(id)
    if (!customer)
      throw fault('2500', 'Invalid Reference Id', `Invalid Reference Id : Customer ${id} is not there.`)
    return { value: id, name: text(customer['DisplayName']) }
  }
  const currencyOf = (fields: Fields): { value: string } => {
    const wanted = (fields['CurrencyRef'] as Fields | undefined)?.['value']
    if (wanted !== undefined && wanted !== options.currency)
      throw fault('6000', 'A business validation error', `The customer's currency is ${options.currency}.`)
    return { value: options.currency }
  }

  const newCustomer = (fields: Fields): Fields => {
    const name = text(fields['DisplayName'])
    if (name === '') throw missing('DisplayName')
    checkName(name)
    return {
      Taxable: true,
      Job: false,
      BillWithParent: false,
      Balance: 0,
      BalanceWithJobs: 0,
      CurrencyRef: { value: options.currency },
      PreferredDeliveryMethod: 'None',
      FullyQualifiedName: name,
      PrintOnCheckName: name,
      Active: true,
      ...fields,
    }
  }
  const newPayment = (fields: Fields): Fields => {
    const total = fields['TotalAmt']
    if (typeof total !== 'number') throw missing('TotalAmt')
    const lines = (fields['Line'] ?? []) as readonly Fields[]
    const applied = lines.map((line) => applicationOf(line))
    const left = minor(total) - applied.reduce((sum, { amount }) => sum + amount, 0)
    if (left < 0) throw fault('6000', 'A business validation error', 'More is applied than was paid.')
    for (const { invoice, amount } of applied) addToBalance(invoice, -amount)
    return {
      TxnDate: today(),
      ProcessPayment: false,
      DepositToAccountRef: { value: '4' },
      ...fields,
      CustomerRef: customerOf(fields),
      CurrencyRef: currencyOf(fields),
      UnappliedAmt: major(left),
      Line: lines,
    }
  }
  /** How much of a payment's line pays which invoice. */
  const applicationOf = (line: Fields): { invoice: Entity; amount: number } => {
    const [linked] = (line['LinkedTxn'] ?? []) as readonly Fields[]
    const amount = line['Amount']
    if (linked?.['TxnType'] !== 'Invoice' || typeof amount !== 'number') throw missing('LinkedTxn')
    const invoice = find('Invoice', text(linked['TxnId']))
    if (minor(amount) > minor(invoice['Balance'] as number))
      throw fault('6000', 'A business validation error', 'More is applied than the invoice still asks for.')
    return { invoice, amount: minor(amount) }
  }
  const addToBalance = (invoice: Entity, change: number): void => {
    invoice['Balance'] = major(minor(invoice['Balance'] as number) + change)
    touch(invoice)
  }
  const newInvoice = (fields: Fields, allowDuplicateNumber: boolean): Fields => {
    const lines = (fields['Line'] ?? []) as readonly Fields[]
    if (lines.length === 0) throw missing('Line')
    const given = fields['DocNumber']
    const taken = [...state.entities.Invoice.values()].some((one) => one['DocNumber'] === given)
    if (given !== undefined && taken && !allowDuplicateNumber)
      throw fault('6140', 'Duplicate Document Number Error', 'You must specify a different number.')
    const total = lines.reduce((sum, line) => sum + lineAmount(line), 0)
    return {
      TxnDate: today(),
      DueDate: today(),
      EmailStatus: 'NotSet',
      PrintStatus: 'NeedToPrint',
      ...fields,
      CustomerRef: customerOf(fields),
      CurrencyRef: currencyOf(fields),
      DocNumber: given ?? String(state.nextDocNumber++),
      TotalAmt: major(total),
      Balance: major(total),
      Line: [
        ...lines.map((line, i) => ({ Id: String(i + 1), LineNum: i + 1, ...line })),
        { Amount: major(total), DetailType: 'SubTotalLineDetail', SubTotalLineDetail: {} },
      ],
    }
  }

  return {
    find,
    all: (name) => [...state.entities[name].values()],
    create(name, fields, { allowDuplicateNumber = false } = {}) {
      if (name === 'Customer') return keep(name, newCustomer(fields))
      return keep(name, name === 'Payment' ? newPayment(fields) : newInvoice(fields, allowDuplicateNumber))
    },
    update(name, fields) {
      const entity = newest(name, fields)
      if (name === 'Customer' && fields['DisplayName'] !== undefined)
        checkName(text(fields['DisplayName']), entity.Id)
      const { sparse: _sparse, MetaData: _metaData, ...changes } = fields
      return touch(Object.assign(entity, changes, { SyncToken: entity.SyncToken }))
    },
    voidTransaction(name, fields) {
      const entity = newest(name, fields)
      if (text(entity['PrivateNote']).startsWith('Voided'))
        throw fault('6000', 'A business validation error', 'The transaction is void already.')
      if (name === 'Payment') {
        for (const line of entity['Line'] as readonly Fields[]) {
          const [linked] = line['LinkedTxn'] as readonly Fields[]
          addToBalance(find('Invoice', text(linked?.['TxnId'])), minor(line['Amount'] as number))
        }
        Object.assign(entity, { UnappliedAmt: 0, Line: [] })
      } else {
        if (entity['Balance'] !== entity['TotalAmt'])
          throw fault('6000', 'A business validation error', 'A payment is applied to the invoice.')
        const lines = entity['Line'] as readonly Fields[]
        Object.assign(entity, { Balance: 0, Line: lines.map((line) => ({ ...line, Amount: 0 })) })
      }
      const memo = text(entity['PrivateNote'])
      Object.assign(entity, { TotalAmt: 0, PrivateNote: memo === '' ? 'Voided' : `Voided - ${memo}` })
      return touch(entity)
    },
    remove(name, id) {
      const entity = find(name, id)
      if (name === 'Customer') entity['Active'] = false
      else state.entities[name].delete(id)
      return touch(entity)
    },
  }
}

/** The amount of an invoice's line in hundred-thousandths; it must be quantity by unit price where both are given. */
function lineAmount(line: Fields): number {
  const amount = line['Amount']
  if (typeof amount !== 'number') throw missing('Amount')
  const { Qty, UnitPrice } = (line['SalesItemLineDetail'] ?? {}) as { Qty?: number; UnitPrice?: number }
  if (Qty !== undefined && UnitPrice !== undefined && minor(Qty * UnitPrice) !== minor(amount))
    throw fault(
      '6070',
      'Amount calculation incorrect in the request',
      'Amount is not equal to UnitPrice * Qty.',
    )
  return minor(amount)
}

/** A fault in the form of Intuit's API. */
export function fault(code: string, message: string, detail: string, type = 'ValidationFault'): Refusal {
  return new Refusal(faultAnswer(400, { code, message, detail, type }))
}

export function faultAnswer(
  status: number,
  error: { code: string; message: string; detail: string; type: string },
): TwinAnswer {
  const { code, message, detail, type } = error
  return {
    status,
    json: { Fault: { Error: [{ Message: message, Detail: detail, code, element: '' }], type } },
  }
}

function missing(name: string): Refusal {
  return fault(
    '2020',
    'Required param missing, need to supply the required value for the API',
    `Required parameter ${name} is missing in the request`,
  )
}

function text(value: unknown): string {
  return typeof value === 'string' ? value : ''
}

const SCALE = 100_000
const minor = (amount: number): number => Math.round(amount * SCALE)
const major = (amount: number): number => amount / SCALE

/** Intuit writes times in its own zone: `2026-11-22T02:00:00-08:00`. */
export function pacificTime(ms: number): string {
  return `${new Date(ms - 8 * 3_600_000).toISOString().slice(0, 19)}-08:00`
}
