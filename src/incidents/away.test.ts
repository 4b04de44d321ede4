import { createServer, connect, type AddressInfo, type Server, type Socket } from 'node:net'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { createTestDatabase, type TestDatabase } from '../../tests/support/database.ts'
import { seededRandom, systemClock, turn } from '../base/index.ts'
import { openDatabase, transaction, type Database } from '../db/index.ts'
import { createEgress } from '../egress/index.ts'
import { patientClock } from '../egress/egress.fixture.ts'
import { ensurePartitions } from '../ledger/index.ts'
import { createFakeClock } from '../testing/index.ts'
import type { Channel } from './alerts/channel.ts'
import { createChannels } from './alerts/channels.ts'
import { AWAY_AFTER_MS, AwayWatch, recordAway } from './away.ts'
import { openly, openMailServer, type MailServer } from './incidents.fixture.ts'
import { Watch } from './watch.ts'

describe('a database that does not answer', () => {
  const clock = createFakeClock()
  const alerts: string[] = []
  let takes = true
  const channel: Channel = {
    name: 'email',
    tell: ({ id, payload }) => {
      alerts.push(`${id} ${payload.title}`)
      return Promise.resolve(takes ? { as: 'told' } : { as: 'failed', reason: 'down' })
    },
  }
  const seconds = async (watch: AwayWatch, count: number): Promise<void> => {
    for (let i = 0; i < count; i++) {
      await clock.advance(1_000)
      watch.check(undefined)
      await watch.settled()
    }
  }
  beforeEach(() => {
    alerts.length = 0
    takes = true
  })

  it('is told of after a while, once, and written down when it is back', async () => {
    const watch = new AwayWatch({ clock, channels: [channel], where: 'host-1' })
    await seconds(watch, AWAY_AFTER_MS / 1_000 - 1)
    expect(alerts).toEqual([])
    await seconds(watch, 30)
    expect(alerts).toEqual([expect.stringContaining('The database does not answer host-1') as string])
    expect(watch.answered()).toMatchObject({ incident: { kind: 'database_away' }, told: ['email'] })
    expect(watch.answered()).toBeUndefined()
  })

  it('is told again and again under one id to who does not take it', async () => {
    takes = false
    const watch = new AwayWatch({ clock, channels: [channel], where: 'host-1' })
    await seconds(watch, 40)
    expect(alerts.length).toBeGreaterThan(2)
    expect(new Set(alerts).size).toBe(1)
    expect(watch.answered()).toMatchObject({ told: [] })
  })

  it('is not told of where it answers, or where this process itself stood still', async () => {
    const watch = new AwayWatch({ clock, channels: [channel], where: 'host-1' })
    for (let i = 0; i < 30; i++) {
      await seconds(watch, 1)
      watch.answered()
    }
    await clock.advance(10 * AWAY_AFTER_MS)
    watch.check(undefined)
    await seconds(watch, 5)
    expect(alerts).toEqual([])
  })
})

describe('a node whose database hangs', () => {
  let testDatabase: TestDatabase
  let database: Database
  let mail: MailServer
  let proxy: Server
  let hanging = false
  const sockets = new Set<Socket>()
  const egress = createEgress({ clock: patientClock })
  const clock = createFakeClock(systemClock.now())
  /** The database hangs from now on, for long enough to be told of. */
  const hang = async (): Promise<void> => {
    hanging = true
    for (let second = 0; second <= AWAY_AFTER_MS / 1_000; second++) await clock.advance(1_000)
  }
  const comeBack = (): void => {
    hanging = false
    for (const socket of sockets) socket.destroy()
  }
  /** Seconds pass until it is so, each look in its own: two timers wait when it is over. */
  const goOnUntil = async (isSo: () => boolean): Promise<void> => {
    while (!isSo()) {
      await clock.advance(1_000)
      while (clock.pending() < 2) await turn()
    }
  }

  beforeAll(async () => {
    testDatabase = await createTestDatabase()
    const target = new URL(testDatabase.url)
    proxy = createServer((from) => {
      const to = connect(Number(target.port), target.hostname)
      for (const socket of [from, to]) {
        sockets.add(socket.on('error', () => {}))
        socket.on('close', () => {
          from.destroy()
          to.destroy()
        })
      }
      // Nothing comes through any more, and nobody is told: as when a firewall drops everything.
      from.on('data', (data) => (hanging ? undefined : to.write(data)))
      to.on('data', (data) => (hanging ? undefined : from.write(data)))
    })
    await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve))
    const url = new URL(testDatabase.url)
    url.hostname = '127.0.0.1'
    url.port = String((proxy.address() as AddressInfo).port)
    database = openDatabase({ url: url.href, max: 3 })
    await ensurePartitions(database.pool, systemClock.now())
    mail = await openMailServer()
  })
  afterEach(() => {
    hanging = false
  })
  afterAll(async () => {
    await mail.close()
    await egress.close()
    await database.close().catch(() => undefined)
    proxy.close()
    for (const socket of sockets) socket.destroy()
    await testDatabase.drop()
  })

  const byMail = () => {
    const smtp = { host: '127.0.0.1', port: mail.port, tls: 'none', allowPrivateNetwork: true } as const
    const alerts = { email: { to: 'ops@example.com', from: 'trestle@example.com', smtp } }
    return createChannels(alerts, {
      clock: systemClock,
      tenant: 'default',
      egress,
      standing: openly(alerts),
    })
  }

  it('tells by mail at once, and by mail again when it is back, with both in the ledger', async () => {
    const channels = await byMail()
    const watch = new Watch({
      database,
      clock,
      random: seededRandom('away'),
      tenant: 'default',
      channels,
      limitsOf: () => [],
    })
    await watch.start()
    await hang()
    const [opening] = await mail.taken(1)
    expect(opening!.subject).toMatch(/^\[Trestle\] The database does not answer .* \(pid \d+\)$/)
    comeBack()
    await goOnUntil(() => mail.mails.length > 1)
    const [, end] = mail.mails
    expect(end!.inReplyTo).toBe(opening!.messageId)
    await watch.stop()
    const { rows } = await database.pool.query(
      `select action, outcome from ledger where action like 'incident.%' or action like 'alert.%' order by id`,
    )
    expect(rows.slice(0, 3)).toEqual([
      { action: 'incident.opened', outcome: 'opened' },
      { action: 'alert.sent', outcome: 'sent' },
      { action: 'incident.resolved', outcome: 'resolved' },
    ])
    expect(mail.mails).toHaveLength(2)
  })

  it('is not told of again because what was told could not be written down at once', async () => {
    const channels = await byMail()
    let refused = 0
    const watch = new Watch({
      database,
      clock,
      random: seededRandom('refused'),
      tenant: 'default',
      channels,
      limitsOf: () => [],
      // Longer than a silence after which it is told: each look answers, and the writing down fails.
      onFault: (_, error) => {
        if (/refused for a test/.test(String(error))) refused++
      },
    })
    const before = mail.mails.length
    await database.pool.query(
      `create function refuse() returns trigger language plpgsql as $$ begin raise exception 'refused for a test'; end $$;
       create trigger refuse before insert on incidents for each row when (new.kind = 'database_away') execute function refuse()`,
    )
    await watch.start()
    await hang()
    await mail.taken(before + 1)
    comeBack()
    await goOnUntil(() => refused >= (2 * AWAY_AFTER_MS) / 1_000)
    expect(mail.mails).toHaveLength(before + 1)
    await database.pool.query('drop trigger refuse on incidents')
    await goOnUntil(() => mail.mails.length > before + 1)
    expect(mail.mails[before + 1]!.inReplyTo).toBe(mail.mails[before]!.messageId)
    await watch.stop()
  })

  it('is written down once, although nobody heard that it was', async () => {
    const away = createFakeClock()
    const watch = new AwayWatch({ clock: away, channels: [], where: 'host-2' })
    for (let i = 0; i <= AWAY_AFTER_MS / 1_000; i++) {
      await away.advance(1_000)
      watch.check(undefined)
    }
    const was = watch.answered()!
    for (let i = 0; i < 2; i++)
      await transaction(database.pool, (client) => recordAway(client, 'default', was, [], away.now()))
    const { rows } = await database.pool.query('select action from ledger where target = $1 order by id', [
      was.incident.id,
    ])
    expect(rows).toEqual([{ action: 'incident.opened' }, { action: 'incident.resolved' }])
  })
})
