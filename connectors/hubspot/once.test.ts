/** Notes have no idempotency key: what happens when an answer is lost, and what would happen without the look-up. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { repeatedEffects } from 'trestle/testing'
import { startSubject, type Subject } from '../../tests/conformance/suite.ts'
import { eventsOf } from './events.ts'
import { hubspot } from './index.ts'
import { createHubspotTwin, type HubspotTwin } from './twin.ts'

describe('a note whose answer was lost', () => {
  let subject: Subject<HubspotTwin>
  let contact: string

  beforeEach(async () => {
    subject = await startSubject({
      connector: hubspot,
      folder: new URL('.', import.meta.url),
      twin: (clock) => createHubspotTwin({ clock, lagMs: 60_000 }),
      authorize: () => ({ authorization: 'Bearer pat-twin' }),
      samples: {},
    })
    contact = (await subject.twin.contactCreated({ email: 'ada@example.com' })).id
    subject.twin.faults.resetAfterActing(1, { only: 'POST /crm/v3/objects/notes' })
  })
  afterEach(() => subject.stop())

  const input = () => ({ contact, text: 'Paid $19.99' })
  const send = () => subject.call('notes.create', input(), { key: 'k' })

  it('is found once the index has caught up, and not before, so it is never made twice', async () => {
    const begunAt = subject.clock.now()
    await expect(send()).rejects.toThrow(/closed|ECONNRESET|socket/i)
    const ask = () => subject.lookUp('notes.create', input(), { key: 'k', begunAt })
    expect(await ask()).toBeUndefined()
    await subject.clock.advance(60_000)
    expect(await ask()).toMatchObject({ id: subject.twin.effects()[0]?.ref })
    expect(repeatedEffects(subject.twin.effects())).toEqual([])
  })

  it('would be there twice if it were simply sent again', async () => {
    await expect(send()).rejects.toThrow(/closed|ECONNRESET|socket/i)
    await send()
    expect(repeatedEffects(subject.twin.effects())).toMatchObject([{ kind: 'note.created', times: 2 }])
  })

  it('was never made if nothing reached HubSpot, and the look-up says so', async () => {
    subject.twin.faults.clear()
    subject.twin.faults.resetBeforeActing(1)
    const begunAt = subject.clock.now()
    await expect(send()).rejects.toThrow(/closed|ECONNRESET|socket/i)
    await subject.clock.advance(5 * 60_000)
    expect(await subject.lookUp('notes.create', input(), { key: 'k', begunAt })).toBeUndefined()
    expect(subject.twin.effects()).toEqual([])
  })

  it('is not taken for an older one with the same words', async () => {
    subject.twin.faults.clear()
    await subject.call('notes.create', input(), { key: 'earlier' })
    await subject.clock.advance(60_000)
    const begunAt = subject.clock.now()
    expect(await subject.lookUp('notes.create', input(), { key: 'k', begunAt })).toBeUndefined()
  })
})

describe('events of one moment', () => {
  it('share an eventId, which alone would take them for one', async () => {
    const twin = createHubspotTwin()
    await twin.start()
    twin.subscribe(`${twin.url}/nowhere`)
    await twin.contactCreated({ email: 'ada@example.com', firstname: 'Ada' })
    const body = JSON.parse(twin.deliveries()[0]!.body) as { eventId: number }[]
    expect(new Set(body.map(({ eventId }) => eventId)).size).toBe(1)
    expect(new Set(eventsOf({ body, headers: {}, settings: {} }).map(({ id }) => id)).size).toBe(3)
    await twin.stop()
  })
})
