import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { MINUTE, pause, SECOND, systemClock, type CrashPoint } from '../../src/base/index.ts'
import { openDatabase, type Database } from '../../src/db/index.ts'
import { compileEntries } from '../crash/build.ts'
import { startChild, type Child } from '../crash/processes.ts'
import { createTestDatabase, type TestDatabase } from '../support/database.ts'
import type { NodeOptions, NodeReady } from './node.ts'

/** Whole platforms in processes of their own, killed by SIGKILL while they fire and poll. */

let test: TestDatabase
let database: Database
let provider: Server
let folder: string
let entry: string
const children: Child<NodeReady>[] = []

const ITEMS = 150
const PAGE = 20
const FROM = Date.UTC(2026, 0, 1)

beforeAll(async () => {
  ;[test, folder, entry] = await Promise.all([
    createTestDatabase(),
    mkdtemp(join(tmpdir(), 'trestle-schedules-')),
    compileEntries().then((entries) => join(entries, '..', 'schedules', 'node.js')),
  ])
  database = openDatabase({ url: test.url, max: 2 })
  provider = createServer((request, response) => {
    const query = new URL(request.url!, 'http://x').searchParams
    const since = Date.parse(query.get('since') ?? '1970-01-01')
    const after = Number(query.get('after') ?? 0)
    const found = Array.from({ length: ITEMS }, (_, i) => ({
      id: `t${i}`,
      changedAt: new Date(FROM + Math.floor(i / 3) * SECOND).toISOString(),
    })).filter((one) => Date.parse(one.changedAt) >= since)
    const next = after + PAGE < found.length ? { next: after + PAGE } : {}
    response.writeHead(200, { 'content-type': 'application/json' })
    response.end(JSON.stringify({ items: found.slice(after, after + PAGE), ...next }))
  })
  await new Promise<void>((resolve) => provider.listen(0, '127.0.0.1', resolve))
})
afterAll(async () => {
  for (const child of children) child.kill()
  await Promise.all(children.map((child) => child.ended))
  provider.close()
  await database.close()
  await test.drop()
  await rm(folder, { recursive: true })
})

async function start(crashAt?: { point: CrashPoint; count: number }): Promise<Child<NodeReady>> {
  const child = startChild<NodeReady>({
    entry,
    options: {
      databaseUrl: test.url,
      folder,
      providerUrl: `http://127.0.0.1:${(provider.address() as AddressInfo).port}`,
      ...(crashAt && { crashAt }),
    } satisfies NodeOptions,
    logFile: join(folder, 'nodes.log'),
  })
  children.push(child)
  await child.ready
  return child
}

interface Counted {
  readonly runs: number
  readonly done: number
  readonly twice: number
}

async function counted(flow: string): Promise<Counted> {
  const { rows } = await database.pool.query<Counted>(
    `select count(*)::int as runs, (count(*) filter (where r.state = 'succeeded'))::int as done,
       (count(*) - count(distinct e.provider_event_id))::int as twice
     from runs r join events e on e.tenant = r.tenant and e.id = r.event_id where r.flow = $1`,
    [flow],
  )
  return rows[0]!
}

async function until(isSo: () => Promise<boolean>): Promise<void> {
  while (!(await isSo())) await pause(systemClock, 50, { keepAlive: true })
}

/** Every run that was started has ended. */
async function isEachDone(): Promise<boolean> {
  const { rows } = await database.pool.query<{ open: string }>(
    `select count(*) as open from runs where state <> 'succeeded'`,
  )
  return rows[0]!.open === '0'
}

/** Nothing is due that has not fired, and every run has ended. */
async function isAllDone(): Promise<boolean> {
  const { rows } = await database.pool.query<{ open: string }>(
    `select (select count(*) from schedules where kind = 'cron' and due_at <= now())
       + (select count(*) from runs where state <> 'succeeded') as open`,
  )
  const { runs } = await counted('things')
  return rows[0]!.open === '0' && runs === ITEMS
}

/** Nothing was fired or polled yet, and 200 minutes are due. Answers the first of them. */
async function beginAnew(): Promise<number> {
  const first = Math.floor(systemClock.now() / MINUTE) * MINUTE - 200 * MINUTE
  await database.pool.query(`truncate runs, events, deliveries, event_keys, journal, attempts`)
  await database.pool.query(`update schedules set due_at = $1, previous_at = null where kind = 'cron'`, [
    new Date(first),
  ])
  await database.pool.query(
    `update schedules set due_at = now(), position = '{"cursor":null,"token":null,"scan":null}' where kind = 'poll'`,
  )
  return first
}

const PLACES: readonly { point: CrashPoint; count: number }[] = [
  { point: 'inbox.before_commit', count: 2 },
  { point: 'inbox.before_keys', count: 3 },
  { point: 'inbox.before_commit', count: 1 },
  { point: 'wake_ups.taken', count: 1 },
  { point: 'runs.claimed', count: 1 },
]

/** Answers at how many of the places a node was struck down before everything was done. */
async function strikeAtEach(): Promise<number> {
  // Two at a time: the first to come to the place dies there, and the other is killed wherever it is then.
  let struck = 0
  for (const place of PLACES) {
    const both = await Promise.all([start(place), start(place)])
    const struckDown = (): boolean => both.some((child) => child.hasEnded())
    await until(async () => struckDown() || (await isAllDone()))
    if (struckDown()) struck++
    for (const child of both) child.kill()
    await Promise.all(both.map((child) => child.ended))
  }
  return struck
}

/** Where the nodes were quicker than whoever strikes them down, nothing is left to strike at: it begins anew. */
const TRIES = 4

it('each time fires once and each item starts one run, whoever is killed at whatever', async () => {
  // Sets the rows up, and is gone before anything is due again.
  await (await start()).stop()
  let first = 0
  let struck = 0
  for (let tried = 0; tried < TRIES && struck < PLACES.length; tried++) {
    first = await beginAnew()
    struck = await strikeAtEach()
  }
  expect(struck).toBe(PLACES.length)
  do {
    const [last, beside] = [await start(), await start()]
    await until(isAllDone)
    await Promise.all([last.stop(), beside.stop()])
    // A minute that turned in the last moment may have fired, and its run not be over.
  } while (!(await isEachDone()))

  const cron = await counted('every-minute')
  const { rows } = await database.pool.query<{ next: Date }>(
    `select due_at as next from schedules where kind = 'cron'`,
  )
  expect(cron).toEqual({ runs: (rows[0]!.next.getTime() - first) / MINUTE, done: cron.runs, twice: 0 })
  expect(cron.runs).toBeGreaterThanOrEqual(200)
  expect(await counted('things')).toEqual({ runs: ITEMS, done: ITEMS, twice: 0 })
}, 900_000)
