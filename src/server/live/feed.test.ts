import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { acme } from '../../../tests/support/engine.ts'
import { settled } from '../../../tests/support/settled.ts'
import { defineFlow, type AnyFlow } from '../../define/index.ts'
import { turn } from '../../base/index.ts'
import { createFakeClock } from '../../testing/fakeClock.ts'
import { openServer, type ServerFixture } from '../server.fixture.ts'
import { CARDS_SHOWN, Feed } from './feed.ts'
import { ViewerStream } from './viewerStream.ts'

const flow = defineFlow({ name: 'thing-flow', on: acme.on('thing.happened'), run: () => 'done' })
let server: ServerFixture
beforeAll(async () => {
  server = await openServer({ flows: [flow as AnyFlow], idle: true })
})
afterAll(() => server.close())

/** Reads messages by name; ends with the stream. */
async function* messages(stream: ReadableStream<Uint8Array>): AsyncGenerator<{ name: string; data: string }> {
  for await (const chunk of stream.pipeThrough(new TextDecoderStream()) as never as AsyncIterable<string>) {
    const [, name, data] = /^event: (.*)\ndata: (.*)\n\n$/.exec(chunk) ?? []
    if (name !== undefined) yield { name, data: data! }
  }
}

function openFeed(): { feed: Feed; tick: () => Promise<void>; faults: unknown[] } {
  const clock = createFakeClock()
  const faults: unknown[] = []
  const feed = new Feed('default', {
    database: server.engine.database.pool,
    clock,
    onFault: (error) => faults.push(error),
  })
  return { feed, tick: () => clock.advance(500), faults }
}

describe('the feed', () => {
  it('asks the database for nothing while nobody watches', async () => {
    let asked = 0
    const clock = createFakeClock()
    const { pool } = server.engine.database
    const database = {
      query: (...statement: Parameters<typeof pool.query>) => {
        asked++
        return pool.query(...statement)
      },
    }
    const feed = new Feed('default', { database: database as never, clock, onFault: () => {} })
    const watching = messages(feed.open(undefined))
    await watching.next()
    await watching.return(undefined)
    while (feed.size > 0) await turn()
    const before = asked
    await clock.advance(60_000)
    expect(asked).toBe(before)
    expect(feed.size).toBe(0)
  })

  it('shows where things stand, instead of everything, when more happens than one look reads', async () => {
    const { feed, tick, faults } = openFeed()
    const watching = messages(feed.open(undefined))
    expect((await watching.next()).value?.name).toBe('snapshot')
    await server.engine.database.pool.query(
      `insert into events (tenant, id, connection_id, delivery_id, type, state, data_at)
       select 'default', 'evt_9' || lpad(n::text, 6, '0'), 'con_acme', 'dlv_1', 'flood', 'unmatched', '' from generate_series(1, 1200) n`,
    )
    await settled(server.engine.database.pool)
    const next = watching.next()
    await tick()
    const { name, data } = (await next).value!
    const { cards } = JSON.parse(data) as { cards: { id: string }[] }
    expect(name).toBe('snapshot')
    expect(cards).toHaveLength(CARDS_SHOWN)
    expect(cards[0]!.id).toBe('evt_9001200')
    feed.end()
    expect(faults).toEqual([])
  })

  it('goes on after the database was away', async () => {
    const clock = createFakeClock()
    const { pool } = server.engine.database
    const faults: unknown[] = []
    let away = false
    const database = {
      query: (...statement: Parameters<typeof pool.query>) =>
        away ? Promise.reject(new Error('away')) : pool.query(...statement),
    }
    const feed = new Feed('default', {
      database: database as never,
      clock,
      onFault: (error) => faults.push(error),
    })
    const watching = messages(feed.open(undefined))
    await watching.next()
    await turn()
    away = true
    await clock.advance(500)
    expect(faults.length).toBeGreaterThan(0)
    const { event } = await server.engine.deliver('thing.happened', { n: 1 })
    await settled(pool)
    away = false
    const next = watching.next()
    await clock.advance(1000)
    const { name, data } = (await next).value!
    expect([name, data.includes(event)]).toEqual(['cards', true])
    feed.end()
  })

  it('ends a stream after 15 minutes, so that its session is looked at again', async () => {
    const clock = createFakeClock()
    const feed = new Feed('default', {
      database: server.engine.database.pool,
      clock,
      onFault: () => {},
    })
    const stream = feed.open('run_none')
    await turn()
    const read = (async () => {
      for await (const _ of messages(stream)) void _
      return 'ended'
    })()
    await clock.advance(15 * 60_000)
    expect(await read).toBe('ended')
    expect(feed.size).toBe(0)
  })
})

describe('a viewer who does not read', () => {
  it('is let go after 100 messages', () => {
    let ended = 0
    const viewer = new ViewerStream(undefined, () => ended++)
    for (let i = 0; i < 99; i++) viewer.send('cards', { i })
    expect(ended).toBe(0)
    viewer.send('cards', {})
    expect(ended).toBe(1)
    viewer.send('cards', {})
    viewer.end()
    expect(ended).toBe(1)
  })

  it('is sent a sign of life when nothing happens', async () => {
    const viewer = new ViewerStream(undefined, () => {})
    for (let i = 0; i < 31; i++) viewer.keepAlive()
    viewer.end()
    let text = ''
    for await (const chunk of viewer.stream) text += new TextDecoder().decode(chunk)
    expect(text).toBe('retry: 2000\n\n: still here\n\n')
  })

  it('gets what was held back after what goes ahead', async () => {
    const viewer = new ViewerStream(undefined, () => {})
    viewer.hold()
    viewer.send('cards', 2)
    viewer.send('snapshot', 1, true)
    viewer.release()
    viewer.end()
    let text = ''
    for await (const chunk of viewer.stream) text += new TextDecoder().decode(chunk)
    expect(text.indexOf('snapshot')).toBeLessThan(text.indexOf('cards'))
  })
})
