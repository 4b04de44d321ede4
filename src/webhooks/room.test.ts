import { afterEach, describe, expect, it } from 'vitest'
import {
  bench,
  BODY,
  closeBenches,
  openSocket,
  PATH,
  send,
  signedHeaders,
  until,
  type Bench,
} from '../../tests/support/webhookBench.ts'
import { Room } from './room.ts'

afterEach(closeBenches)

/** An upload that announces much, sends some of it and then nothing. */
async function drip(here: Bench, bytes: number): Promise<() => string> {
  const { socket, answer } = await openSocket(here.port)
  socket.write(
    `POST ${PATH} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 900000\r\n\r\n${'x'.repeat(bytes)}`,
  )
  return answer
}

describe('uploads that are not finished', () => {
  it('give way, oldest first and with 503, to deliveries that come in one piece, from the same address even', async () => {
    const here = await bench({ maxUnverifiedBytes: 200_000 })
    const first = await drip(here, 15_000)
    await until(() => here.clock.pending() === 1)
    const later: (() => string)[] = []
    for (let i = 0; i < 40; i++) later.push(await drip(here, 15_000))
    for (let i = 0; i < 20; i++) expect(await send(here)).toMatchObject({ status: 200 })
    await until(() => first() !== '')
    expect(first()).toMatch(/^HTTP\/1\.1 503 /)
    await until(() => here.rejected.length >= 29)
    expect(new Set(here.rejected.map(({ code, status }) => `${code} ${status}`))).toEqual(
      new Set(['overloaded 503']),
    )
    expect(here.accepted).toHaveLength(20)
  })

  it('are refused where they alone are more than there is room for', async () => {
    const here = await bench({ maxUnverifiedBytes: 10_000 })
    const answer = await drip(here, 20_000)
    await until(() => answer() !== '')
    expect(answer()).toMatch(/^HTTP\/1\.1 503 /)
    expect(await send(here)).toMatchObject({ status: 200 })
  })
})

describe('forged deliveries', () => {
  it('in a flood, from the same address and at the same endpoint, refuse no signed one', async () => {
    const here = await bench({ maxUnverifiedBytes: 100_000, maxHeldBytes: 100_000 })
    const statuses = await Promise.all(
      Array.from({ length: 300 }, (_, i) =>
        i % 10 === 0
          ? send(here).then(({ status }) => `signed ${status}`)
          : send(here, { headers: signedHeaders(here, BODY, 'other') }).then(
              ({ status }) => `forged ${status}`,
            ),
      ),
    )
    expect(statuses.filter((one) => one.startsWith('signed'))).toEqual(Array(30).fill('signed 200'))
    expect(here.accepted).toHaveLength(30)
  })
})

describe('a room', () => {
  it('gets back what was held, in every way that it can end, and once only', () => {
    const room = new Room({ maxUnverifiedBytes: 20_000, maxHeldBytes: 10_000 })
    const whose = { address: () => '203.0.113.7', endpoint: 'ep_1' }
    for (let i = 0; i < 100; i++) {
      const place = room.enter(whose)
      expect([place.take(1000), place.take(1000)]).toEqual([true, true])
      expect(i % 2 === 1 || place.verify()).toBe(true)
      place.leave()
      place.leave()
    }
    const held = Array.from({ length: 10 }, () => room.enter(whose))
    expect(held.filter(({ stands }) => stands).length).toBeLessThan(5)
    expect(held.at(-1)!.stands).toBe(true)
    for (const place of held) place.leave()
    expect(room.enter(whose).verify()).toBe(true)
  })

  it('of the verified is its own: what is not verified takes nothing from it', () => {
    const room = new Room({ maxUnverifiedBytes: 50_000, maxHeldBytes: 10_000 })
    const attack = Array.from({ length: 20 }, () => room.enter({ address: () => 'a', endpoint: 'ep_1' }))
    const signed = [1, 2].map(() => room.enter({ address: () => 'p', endpoint: 'ep_1' }))
    expect(signed.map((place) => place.verify())).toEqual([true, true])
    expect(room.enter({ address: () => 'p', endpoint: 'ep_1' }).verify()).toBe(false)
    for (const place of [...attack, ...signed]) place.leave()
  })
})
