import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import {
  acme,
  failedFor,
  made,
  startTestEngine,
  TENANT,
  type TestEngine,
} from '../../tests/support/engine.ts'
import { createTestDatabase, type TestDatabase } from '../../tests/support/database.ts'
import { systemClock, systemRandom, timeOfId, type Clock } from '../base/index.ts'
import type { CallOutcome } from '../calls/index.ts'
import { transaction } from '../db/index.ts'
import { defineFlow, type AlertsDefinition } from '../define/index.ts'
import { createEgress } from '../egress/index.ts'
import { patientClock } from '../egress/egress.fixture.ts'
import { beginConservation, countOnce } from '../conservation/check.ts'
import { beginReading, takeTurn } from '../ledger/index.ts'
import type { Detector } from './detectors/detector.ts'
import { createChannels } from './alerts/channels.ts'
import { detectors } from './detectors/index.ts'
import { openly, openMailServer, type MailServer } from './incidents.fixture.ts'
import { lookOnce, READER, type Looked } from './look.ts'
import { CALM_MS } from './streaks.ts'
import { sendDue } from './watch.ts'

let testDatabase: TestDatabase
let engine: TestEngine
let mail: MailServer
let answer: () => CallOutcome = made
const egress = createEgress({ clock: patientClock })
/** Hours that the clock is ahead of the machine's. */
let aheadMs = 0
const clock: Clock = { ...systemClock, now: () => systemClock.now() + aheadMs }

const failing = defineFlow({
  name: 'thing-happened',
  on: acme.on('thing.happened'),
  async run({ use }) {
    await use(acme)
      .things.upsert({})
      .catch(() => undefined)
  },
})
const giving = defineFlow({
  name: 'thing-answered',
  on: acme.on('thing.answered'),
  async run({ use }) {
    await use(acme).things.upsert({})
  },
})

beforeAll(async () => {
  testDatabase = await createTestDatabase()
  engine = await startTestEngine(testDatabase, { flows: [failing, giving], call: () => answer() })
  await beginReading(engine.database.pool, { tenant: TENANT, name: READER }, clock.now())
})
afterAll(async () => {
  await egress.close()
  await engine.stop()
  await testDatabase.drop()
})
beforeEach(async () => {
  mail = await openMailServer()
})
afterEach(async () => {
  await mail.close()
  answer = made
  aheadMs = 0
  alsoNodes = false
  await engine.database.pool.query(
    'truncate incidents, alerts, call_streaks; delete from nodes where stopped_at is not null',
  )
  await engine.database.pool.query(`update runs set state = 'cancelled' where state = 'dead_lettered'`)
})

const alerts = (): AlertsDefinition => ({
  email: {
    to: ['ops@example.com', 'owner@example.com'],
    from: 'Trestle <trestle@example.com>',
    smtp: { host: '127.0.0.1', port: mail.port, tls: 'none', allowPrivateNetwork: true },
  },
})
const channels = () => createChannels(alerts(), { clock, tenant: TENANT, egress, standing: openly(alerts()) })

/** Everything written so far is settled: other tests of the run share the server, and their transactions count. */
async function settled(): Promise<void> {
  const { pool } = engine.database
  const { rows } = await pool.query<{ now: string }>('select pg_current_xact_id()::text as now')
  for (;;) {
    const found = await pool.query('select 1 where pg_snapshot_xmin(pg_current_snapshot()) > $1::xid8', [
      rows[0]!.now,
    ])
    if (found.rowCount === 1) return
  }
}
async function look(): Promise<Looked> {
  await settled()
  return lookNow()
}
/** The engine of these tests is a node, too, and may seem to be gone where the machine stood still. */
let alsoNodes = false
const lookedFor = () => detectors(() => []).filter(({ kind }) => alsoNodes || kind !== 'node_gone')
async function lookNow(): Promise<Looked> {
  const names = (await channels()).map((channel) => channel.name)
  return lookOnce(
    { database: engine.database, clock, tenant: TENANT, detectors: lookedFor(), channels: names },
    0,
  )
}
const send = async () =>
  sendDue({
    database: engine.database,
    clock,
    random: systemRandom,
    tenant: TENANT,
    channels: await channels(),
  })
const incidents = async () =>
  (await engine.database.pool.query('select * from incidents order by id')).rows as Record<string, unknown>[]
async function calls(type = 'thing.happened', count = 1): Promise<void> {
  for (let i = 0; i < count; i++) {
    const { runs } = await engine.deliver(type, { n: i })
    await engine.reached(runs[0]!, 'succeeded', 'dead_lettered')
  }
}

describe('failing calls', () => {
  it('open one incident at the third in a row, told once, and told again in the same thread when over', async () => {
    answer = () => failedFor('http_503', false)
    await calls('thing.happened', 2)
    await look()
    expect(await incidents()).toEqual([])
    await calls()
    await look()
    await calls()
    await look()
    expect(await incidents()).toMatchObject([
      {
        kind: 'failing_calls',
        state: 'open',
        title: 'Calls to acme.things.upsert fail',
        what: expect.stringMatching(
          /^Calls to acme\.things\.upsert have failed 4 times in a row since .* UTC\. The last answer: it failed: http_503$/,
        ) as string,
        connection_id: 'con_acme',
      },
    ])
    expect(await send()).toBe(1)
    const [opening] = await mail.taken(1)
    expect(opening).toMatchObject({ subject: '[Trestle] Calls to acme.things.upsert fail' })
    expect(opening!.text).toMatch(/have failed 3 times in a row since/)
    expect(opening!.text).toMatch(
      /Holds up: No run waits for it\.\nWhat to do: Look whether the provider has an outage/,
    )
    expect(opening!.html).toContain('have failed 3 times in a row')

    answer = made
    await calls()
    await look()
    expect(await incidents()).toMatchObject([{ state: 'open' }])
    aheadMs = CALM_MS
    await look()
    expect(await incidents()).toMatchObject([{ state: 'resolved', resolution: 'Its calls succeed again.' }])
    expect(await send()).toBe(1)
    const [, end] = await mail.taken(2)
    expect(end).toMatchObject({
      subject: 'Re: [Trestle] Calls to acme.things.upsert fail',
      inReplyTo: opening!.messageId,
    })
    expect(end!.references).toEqual(opening!.messageId)
    expect(end!.text).toMatch(/^Over: Its calls succeed again\./)
    await look()
    expect(await send()).toBe(0)
    expect(mail.mails).toHaveLength(2)
  })

  it('are in the ledger: opened, told and resolved', async () => {
    answer = () => failedFor('http_503', false)
    await calls('thing.happened', 3)
    await look()
    await send()
    const [incident] = await incidents()
    const { rows } = await engine.database.pool.query(
      'select action, outcome from ledger where target = $1 order by id',
      [incident!['id']],
    )
    expect(rows).toEqual([
      { action: 'incident.opened', outcome: 'opened' },
      { action: 'alert.sent', outcome: 'sent' },
    ])
  })
})

describe('failing calls that turn out to be an outage', () => {
  it('are one incident with it: told once when it begins, and once when it is over', async () => {
    const { pool } = engine.database
    answer = () => failedFor('http_503', false)
    await calls('thing.happened', 3)
    await look()
    const [before] = await incidents()
    expect(before).toMatchObject({ kind: 'failing_calls' })
    await pool.query(
      `insert into outages (tenant, id, connection_id, op_group, connector, cause, code, reason, opened_by, began_at)
       values ($1, 'out_1', 'con_acme', '', 'acme', 'failing', 'http_503', 'HTTP 503.', 'system', now())`,
      [TENANT],
    )
    await look()
    await calls('thing.happened', 3)
    await look()
    expect(await incidents()).toMatchObject([
      {
        id: before!['id'],
        kind: 'outage',
        title: 'Calls to acme.things.upsert fail',
        what: expect.stringMatching(/^acme does not work since/) as string,
      },
    ])
    await pool.query(`update outages set ended_at = now()`)
    answer = made
    await calls()
    await look()
    aheadMs = CALM_MS
    await look()
    expect(await incidents()).toMatchObject([{ kind: 'outage', state: 'resolved' }])
    while ((await send()) > 0) {
      // The end waits for the opening.
    }
    expect(mail.mails.map((one) => one.subject)).toEqual([
      '[Trestle] Calls to acme.things.upsert fail',
      'Re: [Trestle] Calls to acme.things.upsert fail',
    ])
    const entries = await pool.query(
      `select action from ledger where target = $1 and action like 'incident.%' order by id`,
      [before!['id']],
    )
    expect(entries.rows.map(({ action }: { action: string }) => action)).toEqual([
      'incident.opened',
      'incident.changed',
      'incident.resolved',
    ])
    await pool.query('truncate outages')
  })
})

describe('dead letters', () => {
  it('are one incident for each flow, until none is left', async () => {
    answer = () => failedFor('not_allowed', false)
    await calls('thing.answered', 2)
    await look()
    expect(await incidents()).toMatchObject([
      {
        kind: 'dead_letters',
        flow: 'thing-answered',
        what: expect.stringMatching(
          /^2 runs of thing-answered gave up and are dead letters since .* it failed: not_allowed$/,
        ) as string,
      },
    ])
    await engine.database.pool.query(`update runs set state = 'cancelled' where state = 'dead_lettered'`)
    await look()
    expect(await incidents()).toMatchObject([{ state: 'resolved' }])
  })
})

describe('a node that is gone', () => {
  const insert = (id: string, over: string) =>
    engine.database.pool.query(
      `insert into nodes (id, roles, version, host, pid, started_at, heartbeat_at, stopped_at) values ($1, 'other', 'test', 'host-1', 42, ${over})`,
      [id],
    )
  const ofOthers = async () =>
    (await incidents()).filter(({ subject }) => ['nod_1', 'nod_2', 'nod_3'].includes(subject as string))
  it('is told of, and over when another was started in its place; one that signed off is not', async () => {
    await insert(
      'nod_1',
      `now() - interval '1 hour', now() - interval '1 minute', now() - interval '54 seconds'`,
    )
    await insert(
      'nod_2',
      `now() - interval '1 hour', now() - interval '61 seconds', now() - interval '60 seconds'`,
    )
    alsoNodes = true
    await look()
    expect(await ofOthers()).toMatchObject([
      { kind: 'node_gone', subject: 'nod_1', what: expect.stringContaining('host-1, pid 42') as string },
    ])
    await insert('nod_3', 'now(), now(), null')
    await look()
    expect(await ofOthers()).toMatchObject([{ state: 'resolved' }])
    await engine.database.pool.query(`delete from nodes where roles = 'other'`)
  })
})

describe('counts that do not balance', () => {
  it('open an incident that names day, connection and flow', async () => {
    const { pool } = engine.database
    const options = { database: engine.database, clock: systemClock, tenant: TENANT }
    await beginConservation(options)
    const { runs } = await engine.deliver('thing.happened', { n: 1 })
    await engine.reached(runs[0]!, 'succeeded')
    await settled()
    await countOnce(options, 0)
    await look()
    expect(await incidents()).toEqual([])
    await pool.query('delete from runs where id = $1', [runs[0]])
    await pool.query('update conservation set checked_at = null')
    await countOnce(options, 0)
    await look()
    // Of the run, which may have come before midnight.
    const day = new Date(timeOfId(runs[0]!)).toISOString().slice(0, 10)
    expect(await incidents()).toMatchObject([
      {
        kind: 'conservation',
        flow: 'thing-happened',
        connection_id: 'con_acme',
        what: `1 run of thing-happened for events of acme on ${day} is missing: the ledger has 1, the tables have 0. Missing: ${runs[0]}.`,
      },
    ])
    await pool.query('truncate conservation')
  })
})

describe('a look that fails in the middle', () => {
  it('leaves nothing behind, and the next one finds the same', async () => {
    answer = () => failedFor('http_503', false)
    await calls('thing.happened', 3)
    const [first, ...rest] = lookedFor()
    const breaks = () => Promise.reject(new Error('it broke'))
    const broken: Detector = { kind: 'outage', over: '', look: breaks, lookWhole: breaks }
    const options = { database: engine.database, clock, tenant: TENANT, channels: ['email'] }
    await settled()
    await expect(lookOnce({ ...options, detectors: [first!, broken, ...rest] }, 0)).rejects.toThrow(
      'it broke',
    )
    const { rows } = await engine.database.pool.query(
      'select 1 from call_streaks union all select 1 from alerts',
    )
    expect(rows).toEqual([])
    await look()
    expect(await incidents()).toMatchObject([{ kind: 'failing_calls' }])
  })
})

describe('one node at a time', () => {
  it('looks, and another goes on where one died in the middle', async () => {
    answer = () => failedFor('http_503', false)
    await calls('thing.happened', 3)
    await settled()
    const died = new Error('the node died')
    await expect(
      transaction(engine.database.pool, async (client) => {
        await takeTurn(
          client,
          { tenant: TENANT, name: READER },
          { now: clock.now(), everyMs: 0, atMost: 1_000 },
        )
        expect(await lookNow()).toEqual({ as: 'elsewhere' })
        throw died
      }),
    ).rejects.toBe(died)
    expect(await look()).toMatchObject({ as: 'looked' })
    expect(await incidents()).toMatchObject([{ kind: 'failing_calls' }])
  })

  it('opens one incident where many look at once', async () => {
    answer = () => failedFor('http_503', false)
    await calls('thing.happened', 3)
    await Promise.all([look(), look(), look(), look()])
    await look()
    expect(await incidents()).toHaveLength(1)
    await Promise.all([send(), send(), send()])
    expect(mail.mails).toHaveLength(1)
  })
})

describe('alerts', () => {
  it('wait for a mail server that is down, over a restart, and are sent once it is back', async () => {
    await mail.close()
    // Nobody listens there, whoever took the port since.
    mail = { ...mail, port: 1 }
    answer = () => failedFor('http_503', false)
    await calls('thing.happened', 3)
    await look()
    await send()
    const { rows } = await engine.database.pool.query('select state, attempts, last_error from alerts')
    expect(rows).toEqual([
      {
        state: 'waiting',
        attempts: expect.any(Number) as number,
        last_error: expect.stringContaining('ECONNREFUSED') as string,
      },
    ])
    answer = made
    await calls()
    aheadMs = CALM_MS
    await look()
    mail = await openMailServer()
    aheadMs = 2 * CALM_MS
    while ((await send()) > 0) {
      // The end waits for the opening.
    }
    expect(mail.mails.map((one) => one.subject)).toEqual([
      '[Trestle] Calls to acme.things.upsert fail',
      'Re: [Trestle] Calls to acme.things.upsert fail',
    ])
  })

  it('are sent again under the same id where the node died before it knew', async () => {
    answer = () => failedFor('http_503', false)
    await calls('thing.happened', 3)
    await look()
    await send()
    await engine.database.pool.query(
      `update alerts set state = 'waiting', due_at = now() - interval '1 second'`,
    )
    await send()
    const [first, second] = await mail.taken(2)
    expect(second!.messageId).toBe(first!.messageId)
  })
})
