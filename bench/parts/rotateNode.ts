/** A process with a vault: one that reads and writes secrets without a pause, or one that rotates the master key. */
import { z } from 'zod'
import { codeOf, pause, reasonOf, systemClock, systemRandom } from '../../src/base/index.ts'
import { openDatabase, transaction } from '../../src/db/index.ts'
import { defineConnector, defineOperation, type AnyConnector } from '../../src/define/index.ts'
import { writeEntries } from '../../src/ledger/index.ts'
import { createVault, readMasterKey } from '../../src/vault/index.ts'
import { argument, serveParent } from './child.ts'

const { databaseUrl, masterKey, previous, work, ids, seed } = argument<{
  databaseUrl: string
  masterKey: string
  previous: string
  work: 'read' | 'rotate'
  /** How many connections there are: their ids are `con_0` and so on, and each has its own secret. */
  ids: number
  seed: number
}>()
const READERS = 4
const WRITE_EVERY_MS = 250

const CONNECTOR = defineConnector({
  name: 'kept',
  title: 'Kept',
  baseUrl: 'https://kept.example',
  auth: { kind: 'basic' },
  operations: {
    ping: defineOperation({
      summary: 'ping',
      input: z.object({}),
      output: z.object({}),
      idempotency: { kind: 'natural' },
      request: () => ({ method: 'GET', path: '/ping' }),
    }),
  },
  events: {},
  limits: [],
  check: { operation: 'ping', input: {} },
}) as AnyConnector
const { key } = await readMasterKey({ value: masterKey, previous, mayGenerate: false, random: systemRandom })
const database = openDatabase({ url: databaseUrl, max: 8 })
const vault = createVault({
  storage: { reader: database.pool, transaction: (task) => transaction(database.pool, task) },
  key,
  clock: systemClock,
  random: systemRandom,
  environment: {},
  record: (client, entry) => writeEntries(client, [entry]),
  send: () => Promise.reject(new Error('Nothing leaves here.')),
  authOf: () => CONNECTOR.auth,
})

const counts = { reads: 0, failedReads: 0, writes: 0, failedWrites: 0, said: '' }
const stop = { asked: false }
let next = seed

/** Another connection each time, so that what is kept in memory seldom helps. */
async function readOn(): Promise<void> {
  while (!stop.asked) {
    const n = (next = (next + 7919) % ids)
    try {
      const values = await vault.secretValuesOf({ tenant: 'default', id: `con_${n}` })
      // A password is `pw-<n>`, with whatever writers put behind it.
      if (!values.some((value) => value === `pw-${n}` || value.startsWith(`pw-${n}-`)))
        throw new Error(`con_${n} has another password`)
    } catch (error) {
      counts.failedReads++
      counts.said = reasonOf(error)
    }
    counts.reads++
  }
}

/** Gives connections new passwords, as operators do. */
async function writeOn(): Promise<void> {
  for (let i = 0; !stop.asked; i++) {
    const n = (seed + i * 104729) % ids
    try {
      await vault.addConnection({
        tenant: 'default',
        name: `c${n}`,
        definition: CONNECTOR.connect({ secrets: { username: `u${n}`, password: `pw-${n}-${i}` } }),
        actor: 'operator:bench',
      })
      counts.writes++
    } catch (error) {
      counts.failedWrites++
      counts.said = reasonOf(error)
    }
    await pause(systemClock, WRITE_EVERY_MS)
  }
}

async function rotate(): Promise<Record<string, unknown>> {
  for (;;)
    try {
      return { ...(await vault.rotateMasterKey({ actor: 'operator:bench', tenant: 'default' })) }
    } catch (error) {
      // The lease of a process that was killed ends by itself.
      if (codeOf(error, '') !== 'rotation_under_way') throw error
      await pause(systemClock, 100, { keepAlive: true })
    }
}

await vault.announceKeys()
const working = work === 'read' ? [...Array.from({ length: READERS }, readOn), writeOn()] : []
serveParent(
  {},
  () => (work === 'read' ? Promise.resolve({ ...counts }) : rotate()),
  async () => {
    stop.asked = true
    await Promise.all(working)
    await vault.withdrawKeys()
    await database.close()
  },
)
