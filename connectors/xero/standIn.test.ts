import { afterEach, expect, it } from 'vitest'
import { createFakeClock, type StandIn } from 'trestle/testing'
import { startReceiver, type Receiver } from '../../tests/conformance/receiver.ts'
import { eventsOf } from './events.ts'
import { xero } from './index.ts'
import { createStandIn } from './standIn.ts'

let standIn: StandIn | undefined
let receiver: Receiver | undefined
afterEach(async () => {
  await standIn?.twin.stop()
  await receiver?.stop()
})

it('makes every event of the connector happen, for people that it was told of before', async () => {
  const ada = { name: 'Ada', email: 'ada@example.com', phone: '+64215550100' }
  receiver = await startReceiver()
  standIn = await createStandIn({ clock: createFakeClock(), seed: 'a seed' })
  await standIn.know?.([ada])
  standIn.sendWebhooksTo(receiver.url)
  expect(Object.keys(standIn.happenings).sort()).toEqual(Object.keys(xero.events).sort())
  const settings = standIn.connection.settings!
  for (const turn of [0, 1])
    for (const [type, happen] of Object.entries(standIn.happenings)) {
      await happen!(ada, turn)
      const body = JSON.parse(receiver.received.at(-1)!.body.toString('utf8')) as Record<string, never>
      expect(eventsOf({ body, headers: {}, settings }).map((event) => event.type)).toEqual([type])
    }
  expect(standIn.twin.ownErrors()).toEqual([])
})
