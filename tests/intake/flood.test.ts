/**
 * An attacker floods an endpoint from the very address that the provider sends from: forged deliveries, uploads that
 * never end, headers that never end. The provider's deliveries are answered 200, each, and each is an event.
 */
import { afterAll, beforeAll, expect, it } from 'vitest'
import { CONNECTION_LIMITS } from '../../src/server/index.ts'
import {
  bodyOf,
  openWire,
  PATH,
  requestOf,
  signatureOf,
  startNode,
  tell,
  until,
  type Node,
  type Wire,
} from './node.ts'

const DELIVERIES = 40

let node: Node
const held: Wire[] = []
beforeAll(async () => {
  node = await startNode()
})
afterAll(async () => {
  for (const wire of held) wire.socket.destroy()
  await node.stop()
})

const events = async (): Promise<number> =>
  Number((await node.query('select count(*) as n from events'))[0]!['n'])

/** The provider's deliveries, one after the other, each on a connection of its own. */
async function provider(): Promise<number[]> {
  const statuses: number[] = []
  for (let i = 0; i < DELIVERIES; i++) statuses.push(...(await tell(node.port, requestOf())))
  return statuses
}
const good = Array<number>(DELIVERIES).fill(200)

it('forged deliveries without a pause', async () => {
  const before = await events()
  const state = { isOver: false, forged: 0 }
  const flood = Array.from({ length: 16 }, async () => {
    while (!state.isOver) {
      const body = bodyOf('evt_forged')
      const forged = requestOf({ body, signature: signatureOf(body, { secret: 'whsec_guessed' }) })
      const statuses = await tell(node.port, forged.repeat(5), 5)
      state.forged += statuses.filter((status) => status === 401).length
    }
  })
  expect(await provider()).toEqual(good)
  state.isOver = true
  await Promise.all(flood)
  expect(state.forged).toBeGreaterThan(DELIVERIES)
  expect(await events()).toBe(before + DELIVERIES)
})

it('uploads that never end, more than there is room for', async () => {
  const before = await events()
  // 140 of nearly 1 MiB each: the room for what is not verified is 64 MiB, and the other 128 MiB.
  for (let i = 0; i < 140; i++) {
    const wire = await openWire(node.port)
    held.push(wire)
    wire.socket.write(requestOf({ body: 'x'.repeat(1_000_000), length: '1048576', signature: null }))
  }
  expect(await provider()).toEqual(good)
  expect(await events()).toBe(before + DELIVERIES)
})

it('more connections than a node takes, each with headers that never end', async () => {
  const before = await events()
  for (let i = 0; i < CONNECTION_LIMITS.maxConnections + 100; i++) {
    const wire = await openWire(node.port)
    held.push(wire)
    wire.socket.write(`POST ${PATH} HTTP/1.1\r\nHost: x\r\nX-A: `)
  }
  expect(await provider()).toEqual(good)
  await until(() => held.filter((wire) => wire.isClosed()).length >= 100)
  expect(await events()).toBe(before + DELIVERIES)
})
