/** The intent to receive: intake answers as Xero demands before it sends events, and the check can fail. */
import { afterEach, describe, expect, it } from 'vitest'
import { bench, closeBenches, PATH, PUBLIC_URL, send, type Answer } from '../../tests/support/webhookBench.ts'
import { xero } from './index.ts'
import { createXeroTwin } from './twin.ts'

const KEY = 'xero-webhook-key'

async function ask(secrets: readonly string[], changed: (answer: Answer) => Partial<Answer> = () => ({})) {
  const here = await bench({ webhooks: xero.webhooks!, secrets: () => Promise.resolve(secrets) })
  const twin = createXeroTwin({ clock: here.clock, webhookUrl: PUBLIC_URL, webhookKey: KEY })
  const wrong = await twin.askForIntent(async (url, { body, headers }) => {
    expect(new URL(url).pathname).toBe(PATH)
    const answer = await send(here, { body, headers: Object.entries(headers) })
    const seen = { ...answer, ...changed(answer) }
    return { status: seen.status, body: seen.body, cookies: seen.headers['set-cookie'] !== undefined }
  })
  return { here, wrong }
}

describe('the intent to receive', () => {
  afterEach(closeBenches)

  it('is answered 200 to good signatures and 401 to wrong ones, without a body or cookies', async () => {
    const { here, wrong } = await ask([KEY])
    expect(wrong).toEqual([])
    expect(here.rejected.map(({ status }) => status)).toEqual([401, 401])
    // The good ones are accepted and carry no events.
    expect(here.accepted).toHaveLength(2)
    for (const { events } of here.accepted) expect(events).toEqual([])
  })

  it('would not be granted with another key, with a body, or with one answer for all', async () => {
    expect((await ask(['another key'])).wrong).toEqual(['401 where 200 is wanted', '401 where 200 is wanted'])
    expect((await ask([KEY], () => ({ body: 'unauthorized' }))).wrong).toHaveLength(4)
    expect((await ask([KEY], () => ({ status: 200 }))).wrong).toEqual([
      '200 where 401 is wanted',
      '200 where 401 is wanted',
    ])
    expect((await ask([KEY], () => ({ headers: { 'set-cookie': ['a=b'] } }))).wrong).toHaveLength(4)
  })
})
