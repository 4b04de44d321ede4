import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, describe, expect, it } from 'vitest'
import { connectToApi, type Api, type ApiRun } from '../../examples/business-day/api.ts'
import { newId, pause, systemClock, systemRandom } from '../../src/base/index.ts'
import { defineConfig, defineFlow, signatureSchemes } from '../../src/define/index.ts'
import { createPlatform, openInstallation, TENANT } from '../../src/runtime/index.ts'
import { signPayload } from '../../src/testing/index.ts'
import { createTestDatabase, PATIENT_ACK_MS } from '../../tests/support/database.ts'
import { acme } from '../../tests/crash/connector.ts'
import { smtp } from './index.ts'
import { createSmtpTwin, type SmtpTwin } from './twin.ts'

const SECRET = `whsec_${systemRandom.bytes(32).toString('base64')}`

const open: (() => Promise<unknown>)[] = []
afterEach(async () => {
  for (const close of open.splice(0).reverse()) await close()
})

const thanks = { from: 'shop@example.com', to: ['ada@example.com'], subject: 'Thanks', text: 'Thank you.' }
const once = defineFlow({
  name: 'once',
  on: acme.on('one'),
  run: async ({ use }) => (await use(smtp).send(thanks)).messageId,
})
const atLeastOnce = defineFlow({
  name: 'at-least-once',
  on: acme.on('one'),
  retry: { first: 1 },
  run: async ({ use }) => (await use(smtp).sendAtLeastOnce(thanks)).messageId,
})

/** The platform with one flow, its vault and a mail server, and one event that has come in. */
async function start(
  flow: typeof once,
  twin: SmtpTwin,
): Promise<{
  run: (...states: string[]) => Promise<ApiRun>
  settle: (id: string, word: object) => Promise<number>
  api: Api
}> {
  await twin.start()
  open.push(() => twin.stop())
  const database = await createTestDatabase()
  open.push(() => database.drop())
  const folder = await mkdtemp(join(tmpdir(), 'trestle-mail-'))
  open.push(() => rm(folder, { recursive: true, force: true }))
  const { username, password } = twin.login!
  const installation = await openInstallation({
    config: defineConfig({
      connections: {
        acme: acme.connect({ secrets: { token: 'token' }, webhookSecrets: [SECRET] }),
        mail: smtp.connect({
          baseUrl: twin.url,
          secrets: { username, password },
          allowPrivateNetwork: true,
        }),
      },
      flows: [flow],
    }),
    folder,
    databaseUrl: database.url,
    environment: {},
    clock: systemClock,
    random: systemRandom,
    development: true,
  })
  open.push(() => installation.close())
  const platform = await createPlatform(installation, {
    roles: ['intake', 'worker', 'api'],
    port: 0,
    ackTimeoutMs: PATIENT_ACK_MS,
    version: 'test',
    watchdog: false,
  })
  open.push(() => platform.stop())
  const { token } = await installation.vault.tokens.create({
    tenant: TENANT,
    name: 'test',
    grants: { role: 'operator' },
    actor: 'operator:test',
  })
  const api = connectToApi(platform.url!, token)
  await deliver(platform.url!)
  return {
    api,
    async run(...states) {
      for (;;) {
        const [found] = await api.all<ApiRun>('/runs')
        if (found !== undefined && states.includes(found.state)) return found
        await pause(systemClock, 20, { keepAlive: true })
      }
    },
    async settle(id, word) {
      const answer = await fetch(`${platform.url!}/api/v1/runs/${id}/settle`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', authorization: `Bearer ${token}` },
        body: JSON.stringify(word),
      })
      return answer.status
    },
  }
}

async function deliver(url: string): Promise<void> {
  const id = newId('evt')
  const body = JSON.stringify({ id, type: 'one', data: { ref: id, customer: 'ada' } })
  const target = `${url}/webhooks/acme`
  const { headers } = signPayload(
    signatureSchemes.standardWebhooks,
    { url: target, body, at: systemClock.now(), id },
    [SECRET],
  )
  const answer = await fetch(target, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body,
  })
  expect(answer.status).toBe(200)
}

describe('a mail of a flow', () => {
  it('is sent once, with the login from the vault, and the ledger shows neither password nor text', async () => {
    const twin = createSmtpTwin()
    const { run, api } = await start(once, twin)
    await run('succeeded')
    expect(twin.mails()).toMatchObject([{ from: 'shop@example.com', to: ['ada@example.com'] }])
    // Shown once no older transaction is under way, of another test file either.
    let ledger = ''
    const messageId = twin.mails()[0]!.messageId!.slice(1, -1)
    await expect.poll(async () => (ledger = JSON.stringify(await api.all('/ledger')))).toContain(messageId)
    expect(ledger).not.toContain(twin.login!.password)
    expect(ledger).not.toContain('Thank you.')
  })

  it('is tried again where it was refused for now, and has the same Message-ID', async () => {
    const twin = createSmtpTwin()
    twin.arm(1, { kind: 'reply', command: 'RCPT', code: 451, text: '4.7.1 Greylisted' })
    const { run } = await start(once, twin)
    await run('succeeded')
    expect(twin.mails()).toHaveLength(1)
  })

  it.each([true, false])(
    'of which nobody knows whether it was taken (%s) is held for a person',
    async (taken) => {
      const twin = createSmtpTwin()
      twin.arm(1, { kind: 'cut', taken })
      const { run, settle } = await start(once, twin)
      const { id } = await run('held')
      expect(twin.mails()).toHaveLength(taken ? 1 : 0)
      expect(await settle(id, { as: 'not_done', step: 'smtp.send' })).toBeLessThan(300)
      await run('succeeded')
      const ids = twin.mails().map(({ messageId }) => messageId)
      expect(new Set(ids).size).toBe(taken ? 2 : 1) // Said to be not done, it is a new effect.
    },
  )

  it('that may come twice is sent again, and can be told by its Message-ID', async () => {
    const twin = createSmtpTwin()
    twin.arm(1, { kind: 'cut', taken: true })
    const { run } = await start(atLeastOnce, twin)
    await run('succeeded')
    const [first, again] = twin.mails()
    expect(again!.messageId).toBe(first!.messageId)
    expect(twin.mails()).toHaveLength(2)
  })
})
