/** The order in which a whole node stops, seen from outside: what it still takes, and what it says. */
import { createServer, type ServerResponse } from 'node:http'
import { mkdtemp, rm } from 'node:fs/promises'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { SECOND, seededRandom, systemClock, systemRandom, type Clock } from '../../src/base/index.ts'
import { defineConfig, signatureSchemes } from '../../src/define/index.ts'
import {
  createPlatform,
  openInstallation,
  type Installation,
  type Platform,
} from '../../src/runtime/index.ts'
import { signPayload } from '../../src/testing/index.ts'
import { acme } from '../crash/connector.ts'
import { FLOWS } from '../crash/flows.ts'
import { createTestDatabase, type TestDatabase } from '../support/database.ts'

const SECRET = `whsec_${Buffer.from(seededRandom('stop order').bytes(24)).toString('base64')}`

/** A provider that answers when it is told to. */
const waiting: ServerResponse[] = []
let called: () => void = () => {}
const provider = createServer((request, response) => {
  request.resume()
  waiting.push(response)
  called()
})
let folder: string
let database: TestDatabase
let installation: Installation
let platform: Platform
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'trestle-stop-order-'))
  database = await createTestDatabase()
  await new Promise<void>((resolve) => provider.listen(0, '127.0.0.1', resolve))
  installation = await openInstallation({
    config: defineConfig({
      connections: {
        acme: acme.connect({
          baseUrl: `http://127.0.0.1:${(provider.address() as AddressInfo).port}`,
          secrets: { token: 'a token' },
          webhookSecrets: [SECRET],
          allowPrivateNetwork: true,
        }),
      },
      flows: FLOWS,
    }),
    folder,
    databaseUrl: database.url,
    environment: {},
    clock,
    random: systemRandom,
    development: true,
  })
  platform = await createPlatform(installation, {
    roles: ['intake', 'worker'],
    port: 0,
    version: 'test',
    watchdog: false,
  })
})
afterAll(async () => {
  for (const response of waiting) response.end('{}')
  await platform.stop()
  await installation.close()
  provider.close()
  await database.drop()
  await rm(folder, { recursive: true, force: true })
})

/** As long as it takes in earnest, but that a stop waits longer: the machine may stand still in the midst of it. */
const clock: Clock = {
  ...systemClock,
  after: (ms, wake, options) => systemClock.after(ms >= 10 * SECOND ? 30 * ms : ms, wake, options),
}

/** The status of the answer to a webhook. A busy machine that commits late is asked again. */
async function send(ref: string): Promise<number> {
  const url = `${platform.url}/webhooks/acme`
  const body = JSON.stringify({ id: `evt-${ref}`, type: 'one', data: { ref, customer: 'c' } })
  const { headers } = signPayload(
    signatureSchemes.standardWebhooks,
    { url, body, at: systemClock.now(), id: `evt-${ref}` },
    [SECRET],
  )
  let status = 503
  while (status === 503) ({ status } = await fetch(url, { method: 'POST', headers, body }))
  return status
}

it('a node that stops says so, takes what comes until its runs are settled, and refuses connections only then', async () => {
  expect((await fetch(`${platform.url}/ready`)).status).toBe(200)
  expect(await send('before')).toBe(200)
  while (waiting.length === 0) await new Promise<void>((resolve) => (called = resolve))

  const stopped = platform.stop()
  const ready = await fetch(`${platform.url}/ready`)
  expect(ready.status).toBe(503)
  expect(ready.headers.get('retry-after')).toMatch(/^\d+$/)
  expect(ready.headers.get('connection')).toBe('close')
  expect(await ready.json()).toMatchObject({ reasons: [{ code: 'stopping' }] })
  expect(await send('meanwhile')).toBe(200)
  const states = async (): Promise<unknown[]> =>
    (
      await installation.database.pool.query(
        `select e.provider_event_id as event, r.state, r.node_id is null as free from runs r join events e on e.tenant = r.tenant and e.id = r.event_id order by r.id`,
      )
    ).rows
  expect(await states()).toEqual([
    { event: 'evt-before', state: 'running', free: false },
    { event: 'evt-meanwhile', state: 'queued', free: true },
  ])

  for (const response of waiting)
    response.writeHead(200, { 'content-type': 'application/json' }).end('{"id":"1"}')
  await stopped
  await expect(send('after')).rejects.toThrow('fetch failed')
  expect(waiting).toHaveLength(1)
  const [before, meanwhile] = await states()
  // The only step is done; whether the node still had the time to say that the run is, is its own affair.
  expect(before).toMatchObject({ event: 'evt-before', free: true })
  expect(meanwhile).toEqual({ event: 'evt-meanwhile', state: 'queued', free: true })
  const { rows } = await installation.database.pool.query(`select outcome from journal`)
  expect(rows).toEqual([{ outcome: 'succeeded' }])
})
