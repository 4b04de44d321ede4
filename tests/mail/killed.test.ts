import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeAll, expect, it } from 'vitest'
import { newId, pause, systemClock, systemRandom } from '../../src/base/index.ts'
import { openDatabase, type Database } from '../../src/db/index.ts'
import { signatureSchemes } from '../../src/define/index.ts'
import { openScripted, type ScriptedServer } from '../../src/egress/mail/server.fixture.ts'
import { signPayload } from '../../src/testing/index.ts'
import { compileEntries } from '../crash/build.ts'
import { startChild, type Child } from '../crash/processes.ts'
import { createTestDatabase } from '../support/database.ts'
import type { NodeOptions, NodeReady } from './node.ts'

/**
 * A whole platform in a process of its own is killed by SIGKILL when the mail server has the final dot and has not
 * answered. Nobody can know whether the mail was taken, and the node that comes after must not guess.
 */

const SECRET = `whsec_${systemRandom.bytes(32).toString('base64')}`

let entry: string
beforeAll(async () => {
  entry = await compileEntries().then((entries) => join(entries, '..', 'mail', 'node.js'))
})
const open: (() => Promise<unknown>)[] = []
afterEach(async () => {
  for (const close of open.splice(0).reverse()) await close()
})

interface World {
  readonly server: ScriptedServer
  readonly database: Database
  /** Resolves when the server has the final dot of the first mail, which it does not answer. */
  readonly dot: Promise<void>
  readonly start: () => Child<NodeReady>
}

async function world(operation: NodeOptions['operation']): Promise<World> {
  const test = await createTestDatabase()
  open.push(() => test.drop())
  const database = openDatabase({ url: test.url, max: 2 })
  open.push(() => database.close())
  const folder = await mkdtemp(join(tmpdir(), 'trestle-mail-killed-'))
  open.push(() => rm(folder, { recursive: true, force: true }))
  let came = (): void => undefined
  const dot = new Promise<void>((resolve) => {
    came = resolve
  })
  const server = await openScripted({
    EHLO: '250-mail.example\r\n250 AUTH PLAIN',
    DOT: (socket) => (server.mails.length === 1 ? came() : void socket.write('250 2.0.0 Ok: queued\r\n')),
  })
  open.push(() => server.close())
  return {
    server,
    database,
    dot,
    start() {
      const child = startChild<NodeReady>({
        entry,
        logFile: join(folder, 'node.log'),
        options: {
          databaseUrl: test.url,
          folder,
          mailUrl: `smtp://127.0.0.1:${server.port}?tls=none`,
          webhookSecret: SECRET,
          operation,
        } satisfies NodeOptions,
      })
      open.push(() => child.stop())
      return child
    },
  }
}

async function deliver(url: string): Promise<void> {
  const id = newId('evt')
  const body = JSON.stringify({ id, type: 'one', data: { ref: id, customer: 'ada' } })
  const target = `${url}/webhooks/acme`
  const signed = { url: target, body, at: systemClock.now(), id }
  const { headers } = signPayload(signatureSchemes.standardWebhooks, signed, [SECRET])
  // A busy machine commits late, and is asked again.
  let status = 503
  while (status === 503)
    ({ status } = await fetch(target, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...headers },
      body,
    }))
  expect(status).toBe(200)
}

/** One mail to the final dot, the node killed there, and another in its place: the run's state when it rests. */
async function killedAtTheDot({ database, dot, start }: World): Promise<string> {
  const first = start()
  await deliver((await first.ready)!.url)
  await dot
  first.kill()
  expect((await first.ended).signal).toBe('SIGKILL')
  expect((await start().ready)?.pid).toBeGreaterThan(0)
  for (;;) {
    const { rows } = await database.pool.query<{ state: string }>('select state from runs')
    if (rows[0]?.state === 'held' || rows[0]?.state === 'succeeded') return rows[0].state
    await pause(systemClock, 50, { keepAlive: true })
  }
}

it('a mail whose answer died with the node is held for a person, and not sent again', async () => {
  const own = await world('send')
  expect(await killedAtTheDot(own)).toBe('held')
  expect(own.server.mails).toHaveLength(1)
})

it('control: one that may come twice does, and is known by its Message-ID', async () => {
  const own = await world('sendAtLeastOnce')
  expect(await killedAtTheDot(own)).toBe('succeeded')
  const ids = own.server.mails.map((mail) => /^message-id: (.*)$/im.exec(mail)?.[1])
  expect(ids).toHaveLength(2)
  expect(ids[1]).toBe(ids[0])
})
