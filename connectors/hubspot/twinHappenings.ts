import type { ObjectStore, ObjectType, Change, HubspotState, StoredObject } from './twinObjects.ts'
import { eventsOfChange, type EventTeller } from './twinWebhooks.ts'

interface Edit {
  readonly id: string
  readonly properties: Record<string, string>
}
interface Named {
  readonly id: string
}

/** What people do in HubSpot itself. Each resolves after the first attempt of its webhook. */
export function createHappenings(state: HubspotState, store: ObjectStore, teller: EventTeller) {
  const known = (type: ObjectType, id: string): StoredObject => {
    const found = state.objects[type].get(id)
    if (!found) throw new Error(`There is no ${type.slice(0, -1)} ${id}. Create it first.`)
    return found
  }
  const byHand = async (change: Change): Promise<StoredObject> => {
    await teller.tell('CRM_UI', eventsOfChange(change))
    return change.object
  }
  const archive = async (type: ObjectType, id: string, subscriptionType: string): Promise<StoredObject> => {
    const object = known(type, id)
    store.archive(object)
    await teller.tell('CRM_UI', [{ subscriptionType, objectId: Number(id), changeFlag: 'DELETED' }])
    return object
  }

  return {
    /** Somebody creates a contact. */
    contactCreated: (properties: Record<string, string>) => byHand(store.create('contacts', properties)),
    /** Somebody edits a contact: one event for each property that changes. */
    contactChanged: ({ id, properties }: Edit) => byHand(store.update(known('contacts', id), properties)),
    contactDeleted: ({ id }: Named) => archive('contacts', id, 'contact.deletion'),
    contactPrivacyDeleted: ({ id }: Named) => archive('contacts', id, 'contact.privacyDeletion'),
    contactRestored: async ({ id }: Named): Promise<StoredObject> => {
      const object = known('contacts', id)
      store.restore(object)
      const subscriptionType = 'contact.restore'
      await teller.tell('CRM_UI', [{ subscriptionType, objectId: Number(id), changeFlag: 'RESTORED' }])
      return object
    },
    /** The second contact is merged into the first. */
    contactsMerged: async (merge: {
      readonly primary: string
      readonly merged: string
    }): Promise<StoredObject> => {
      const primary = known('contacts', merge.primary)
      store.archive(known('contacts', merge.merged))
      await teller.tell('CRM_UI', [
        {
          subscriptionType: 'contact.merge',
          objectId: Number(primary.id),
          primaryObjectId: Number(primary.id),
          mergedObjectIds: [Number(merge.merged)],
          newObjectId: Number(primary.id),
          numberOfPropertiesMoved: 1,
        },
      ])
      return primary
    },
    contactAssociated: async (pair: { readonly contact: string; readonly deal: string }): Promise<void> => {
      const contact = known('contacts', pair.contact)
      const deal = known('deals', pair.deal)
      store.associate(contact, deal)
      await teller.tell('CRM_UI', [
        {
          subscriptionType: 'contact.associationChange',
          associationType: 'CONTACT_TO_DEAL',
          fromObjectId: Number(contact.id),
          toObjectId: Number(deal.id),
          associationRemoved: false,
          isPrimaryAssociation: false,
        },
      ])
    },
    dealCreated: (properties: Record<string, string>) => byHand(store.create('deals', properties)),
    dealChanged: ({ id, properties }: Edit) => byHand(store.update(known('deals', id), properties)),
    dealDeleted: ({ id }: Named) => archive('deals', id, 'deal.deletion'),
  }
}

export type Happenings = ReturnType<typeof createHappenings>
