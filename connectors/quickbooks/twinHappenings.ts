import type { Books, Entity, EntityName, Fields } from './twinBooks.ts'
import type { ChangeNote, ChangeTeller } from './twinWebhooks.ts'

interface Named {
  readonly id: string
}
interface Edit extends Named {
  readonly fields: Fields
}

/** What people do in QuickBooks itself. Each resolves after the first attempt of its webhook. */
export function createHappenings(books: Books, teller: ChangeTeller) {
  const told = async (
    name: EntityName,
    entity: Entity,
    operation: ChangeNote['operation'],
    deletedId?: string,
  ): Promise<Entity> => {
    await teller.tell([{ name, id: entity.Id, operation, ...(deletedId === undefined ? {} : { deletedId }) }])
    return entity
  }
  const created = (name: EntityName, fields: Fields) => told(name, books.create(name, fields), 'Create')
  const edited = (name: EntityName, { id, fields }: Edit) => {
    const { SyncToken } = books.find(name, id)
    return told(name, books.update(name, { ...fields, Id: id, SyncToken }), 'Update')
  }
  const removed = (name: EntityName, { id }: Named) => told(name, books.remove(name, id), 'Delete')
  const voided = (name: 'Payment' | 'Invoice', { id }: Named) => {
    const { SyncToken } = books.find(name, id)
    return told(name, books.voidTransaction(name, { Id: id, SyncToken }), 'Void')
  }

  return {
    customerCreated: (fields: Fields & { readonly DisplayName: string }) => created('Customer', fields),
    customerChanged: (edit: Edit) => edited('Customer', edit),
    /** Makes the customer inactive, as QuickBooks does. */
    customerDeleted: (customer: Named) => removed('Customer', customer),
    /** The second customer is merged into the first. */
    customersMerged: ({ kept, merged }: { readonly kept: string; readonly merged: string }) => {
      books.remove('Customer', merged)
      return told('Customer', books.find('Customer', kept), 'Merge', merged)
    },
    invoiceCreated: (fields: Fields) => created('Invoice', fields),
    invoiceChanged: (edit: Edit) => edited('Invoice', edit),
    invoiceVoided: (invoice: Named) => voided('Invoice', invoice),
    invoiceDeleted: (invoice: Named) => removed('Invoice', invoice),
    invoiceEmailed: ({ id }: Named) => told('Invoice', books.find('Invoice', id), 'Emailed'),
    paymentCreated: (fields: Fields) => created('Payment', fields),
    paymentChanged: (edit: Edit) => edited('Payment', edit),
    paymentVoided: (payment: Named) => voided('Payment', payment),
    paymentDeleted: (payment: Named) => removed('Payment', payment),
    paymentEmailed: ({ id }: Named) => told('Payment', books.find('Payment', id), 'Emailed'),
  }
}

export type Happenings = ReturnType<typeof createHappenings>
