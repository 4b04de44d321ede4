/** Each attack over a raw socket against a whole node, with its stated answer; and the table of the guide. */
import { readFileSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { FORGERIES, SHAPES, TAKEN, TARGETS, type Attack } from './attacks.ts'
import { bodyOf, openWire, requestOf, signatureOf, startNode, tell, until, type Node } from './node.ts'

let node: Node
beforeAll(async () => {
  node = await startNode()
})
afterAll(() => node.stop())

const countOf = async (table: 'deliveries' | 'events'): Promise<number> =>
  Number((await node.query(`select count(*) as n from ${table}`))[0]!['n'])

async function answerTo(attack: Attack): Promise<number | 'closed'> {
  const statuses = (await tell(node.port, attack.bytes())).filter((status) => status >= 200)
  return statuses[0] ?? 'closed'
}

describe.each([
  ['a forged signature', FORGERIES],
  ['a request that can be read in two ways, or is too much', SHAPES],
  ['another way to write the path', TARGETS],
])('%s', (_, attacks) => {
  it.each(attacks.map((attack) => [attack.what, attack] as const))('%s', async (_what, attack) => {
    const before = await countOf('events')
    expect(await answerTo(attack)).toBe(attack.answer)
    expect(await countOf('events')).toBe(before)
  })

  it('leaves the node as it was: a delivery is taken after them', async () => {
    expect(await tell(node.port, requestOf())).toEqual([200])
  })
})

describe('what is unusual and taken', () => {
  it.each(TAKEN.map((attack) => [attack.what, attack] as const))('%s', async (_what, attack) => {
    const before = await countOf('events')
    expect(await answerTo(attack)).toBe(attack.answer)
    expect(await countOf('events')).toBe(before + 1)
  })
})

describe('replays', () => {
  it('within the tolerance are answered 200 and counted as one event', async () => {
    const before = await countOf('events')
    const request = requestOf({ body: bodyOf() })
    for (let i = 0; i < 5; i++) expect(await tell(node.port, request)).toEqual([200])
    expect(await countOf('events')).toBe(before + 1)
  })

  it('under another delivery id, which nobody signed, are the same event still', async () => {
    const before = await countOf('events')
    const body = bodyOf()
    for (let i = 0; i < 3; i++)
      expect(await tell(node.port, requestOf({ body, more: [`X-Delivery-Id: ${i}`] }))).toEqual([200])
    expect(await countOf('events')).toBe(before + 1)
  })
})

describe('one connection with several requests', () => {
  it('answers pipelined ones in order, each by its own signature', async () => {
    const before = await countOf('events')
    const forged = requestOf({ signature: signatureOf('{}') })
    const statuses = await tell(node.port, requestOf() + forged + requestOf(), 3)
    expect(statuses).toEqual([200, 401, 200])
    expect(await countOf('events')).toBe(before + 2)
  })

  it('takes nothing that follows a request which can be read in two ways', async () => {
    const before = await countOf('events')
    const ambiguous = requestOf({ more: ['Transfer-Encoding: chunked'], body: '0\r\n\r\n' })
    const wire = await openWire(node.port)
    wire.socket.write(ambiguous + requestOf())
    await until(wire.isClosed)
    expect(wire.statuses()).toEqual([400])
    expect(await countOf('events')).toBe(before)
  })

  it('reads what stands in a refused body as a body, and not as a request', async () => {
    const before = await countOf('events')
    const inner = requestOf()
    const outer = requestOf({ target: '/webhooks/nobody', body: inner, signature: null })
    expect(await tell(node.port, outer)).toEqual([404])
    expect(await countOf('events')).toBe(before)
  })
})

describe('docs/guides/security.md', () => {
  const guide = readFileSync(new URL('../../docs/guides/security.md', import.meta.url), 'utf8')
  const rows = [...guide.matchAll(/^\| (.+?) +\| (\d{3}|closed) +\|$/gm)].map(
    ([, what, answer]) => `${what} → ${answer}`,
  )

  it('states each of these answers, and no other', () => {
    const stated = [...FORGERIES, ...SHAPES, ...TARGETS, ...TAKEN].map(
      ({ what, answer }) => `${what} → ${answer}`,
    )
    expect(rows.filter((row) => !stated.includes(row))).toEqual([])
    expect(stated.filter((row) => !rows.includes(row))).toEqual([])
  })
})
