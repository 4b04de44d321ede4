import type { Books, Fields, Kind, Thing } from './twinBooks.ts'
import type { ChangeNote } from './twinRoutes.ts'
import type { ChangeTeller } from './twinWebhooks.ts'

interface Named {
  readonly id: string
}
interface Edit extends Named {
  readonly fields: Fields
}

/** What people do in Xero itself. Each resolves after the first attempt of its webhook. */
export function createHappenings(books: Books, teller: ChangeTeller) {
  const told = async (kind: Kind, thing: Thing, operation: ChangeNote['operation']): Promise<Thing> => {
    await teller.tell([{ kind, id: String(thing[`${kind}ID`]), operation }])
    return thing
  }
  const created = (kind: Kind, fields: Fields) => told(kind, books.create(kind, fields), 'CREATE')
  const edited = (kind: Kind, { id, fields }: Edit) => told(kind, books.update(kind, id, fields), 'UPDATE')
  /** A payment changes its invoice, and that is what webhooks tell of. */
  const ofInvoice = async (payment: Thing): Promise<Thing> => {
    await teller.tell([
      { kind: 'Invoice', id: String((payment['Invoice'] as Fields)['InvoiceID']), operation: 'UPDATE' },
    ])
    return payment
  }

  return {
    contactCreated: (fields: Fields & { readonly Name: string }) => created('Contact', fields),
    contactChanged: (edit: Edit) => edited('Contact', edit),
    contactArchived: ({ id }: Named) => edited('Contact', { id, fields: { ContactStatus: 'ARCHIVED' } }),
    invoiceCreated: (fields: Fields) => created('Invoice', { Type: 'ACCREC', ...fields }),
    invoiceChanged: (edit: Edit) => edited('Invoice', edit),
    invoiceVoided: ({ id }: Named) => edited('Invoice', { id, fields: { Status: 'VOIDED' } }),
    paymentCreated: (fields: Fields) => ofInvoice(books.create('Payment', fields)),
    paymentDeleted: ({ id }: Named) => ofInvoice(books.update('Payment', id, { Status: 'DELETED' })),
  }
}

export type Happenings = ReturnType<typeof createHappenings>
