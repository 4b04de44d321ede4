/** What a proof makes happen at Mailchimp: every event that the connector declares, again and again. */
import { expect, it } from 'vitest'
import { startReceiver } from '../../tests/conformance/receiver.ts'
import { createFakeClock } from '../../src/testing/index.ts'
import { mailchimp } from './index.ts'
import { createStandIn } from './standIn.ts'

it('makes each declared event happen, and each turn is another fact', async () => {
  const receiver = await startReceiver()
  const standIn = await createStandIn({ clock: createFakeClock(), seed: 'a seed' })
  const ada = { name: 'Ada Lovelace', email: 'ada@example.com', phone: '+15005550010' }
  await standIn.know?.([ada])
  expect(receiver.received).toEqual([])
  standIn.sendWebhooksTo(receiver.url)
  expect(Object.keys(standIn.happenings).sort()).toEqual(Object.keys(mailchimp.events).sort())
  for (const [type, happening] of Object.entries(standIn.happenings))
    for (const turn of [0, 1]) {
      await happening!(ada, turn)
      const { body, url } = receiver.received.at(-1)!
      const said = new URLSearchParams(body.toString()).get('type')
      expect(said).toBe(type === 'upemail' ? 'profile' : type)
      expect(new URL(url).searchParams.get('secret')).toBe(standIn.connection.webhookSecrets?.[0])
    }
  const bodies = receiver.received.map(({ body }) => body.toString())
  expect(new Set(bodies).size).toBe(bodies.length)
  await standIn.twin.stop()
  await receiver.stop()
})
