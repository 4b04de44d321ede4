import { createHmac } from 'node:crypto'
import { createBundle, uuidFrom, type Clock, type OutgoingWebhook, type Random } from 'trestle/testing'
import { pacificTime, type EntityName } from './twinBooks.ts'

export type WebhookFormat = 'cloudevents' | 'notifications'

/** Something that changed. */
export interface ChangeNote {
  readonly name: EntityName
  readonly id: string
  readonly operation: 'Create' | 'Update' | 'Delete' | 'Merge' | 'Void' | 'Emailed'
  /** The entity that was merged into this one. */
  readonly deletedId?: string
}

/** Tells the subscriber what changed. */
export interface ChangeTeller {
  /** Sends webhooks here from now on; `undefined` sends none. */
  subscribe(url: string | undefined): void
  /** The switch on the app's page at Intuit. */
  useFormat(format: WebhookFormat): void
  tell(changes: readonly ChangeNote[]): Promise<void>
  /** Everything told meanwhile goes out in one delivery, as Intuit gathers changes for minutes. */
  together(happenings: () => Promise<unknown>): Promise<void>
}

export const PAST_TENSE = {
  Create: 'created',
  Update: 'updated',
  Delete: 'deleted',
  Merge: 'merged',
  Void: 'voided',
  Emailed: 'emailed',
} as const

export function createChangeTeller(options: {
  readonly clock: Clock
  readonly random: Random
  readonly realmId: string
  readonly verifierToken: string
  readonly url: string | undefined
  readonly format: WebhookFormat
  readonly send: (webhook: OutgoingWebhook) => Promise<unknown>
}): ChangeTeller {
  const { clock, random, realmId, verifierToken } = options
  let subscribed = options.url
  let format = options.format

  const cloudEventOf = ({ name, id, operation, at }: ChangeNote & { at: number }) => ({
    specversion: '1.0',
    id: uuidFrom(random),
    source: `intuit.${Buffer.from(`twin of ${realmId}`).toString('base64')}`,
    type: `qbo.${name.toLowerCase()}.${PAST_TENSE[operation]}.v1`,
    datacontenttype: 'application/json',
    // Intuit writes nine digits of a second.
    time: new Date(at).toISOString().replace('Z', '851517Z'),
    intuitentityid: id,
    intuitaccountid: realmId,
    data: {},
  })
  const notificationOf = (changes: readonly (ChangeNote & { at: number })[]) => ({
    eventNotifications: [
      {
        realmId,
        dataChangeEvent: {
          entities: changes.map(({ name, id, operation, deletedId, at }) => ({
            name,
            id,
            operation,
            lastUpdated: pacificTime(at).replace('-08:00', '.000-0800'),
            ...(deletedId === undefined ? {} : { deletedId }),
          })),
        },
      },
    ],
  })

  const send = async (changes: readonly (ChangeNote & { at: number })[]): Promise<void> => {
    if (subscribed === undefined || changes.length === 0) return
    const body = format === 'cloudevents' ? changes.map(cloudEventOf) : notificationOf(changes)
    await options.send({
      url: subscribed,
      body: JSON.stringify(body),
      eventId: changes.map(({ name, id, operation }) => `${name} ${id} ${operation}`).join(', '),
      sign: (signed) => ({
        headers: { 'intuit-signature': createHmac('sha256', verifierToken).update(signed).digest('base64') },
      }),
    })
  }
  const bundle = createBundle(send)

  return {
    subscribe(url) {
      subscribed = url
    },
    useFormat(wanted) {
      format = wanted
    },
    tell: (changes) => bundle.tell(changes.map((change) => ({ ...change, at: clock.now() }))),
    together: (happenings) => bundle.together(happenings),
  }
}
