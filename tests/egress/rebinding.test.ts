/** Names whose answers change between the check and the connection, and answers that mix what may and may not be. */
import { connect, createServer, type AddressInfo, type Server } from 'node:net'
import type { LookupAddress } from 'node:dns'
import { Agent } from 'undici'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { systemClock } from '../../src/base/index.ts'
import { createCertificates } from '../../src/egress/certificates.ts'
import { createDial, type ConnectTcp } from '../../src/egress/dial.ts'
import { createEgress, EGRESS_POLICY, type EgressResult, type Resolve } from '../../src/egress/index.ts'
import { refusalOfAddress } from '../../src/egress/policy.ts'
import { openCanary, type Canary } from './canary.ts'
import { openNameServer, type NameServer } from './nameServer.ts'
import { PATIENCE, PATIENT_MS } from './patience.ts'

const PUBLIC = '93.184.216.34'
const PUBLIC_6 = '2606:2800:220:1::1'

const ZONE: Readonly<Record<string, (n: number) => readonly string[]>> = {
  // Good at every odd question: whoever asks twice and uses the second answer is caught.
  'rebind.example': (n) => (n % 2 === 1 ? [PUBLIC] : ['127.0.0.1']),
  'rebind6.example': (n) => (n % 2 === 1 ? [PUBLIC_6] : ['::1']),
  'first-bad.example': (n) => (n % 2 === 1 ? ['127.0.0.1'] : [PUBLIC]),
  'mixed.example': () => [PUBLIC, '127.0.0.1'],
  'mixed-order.example': () => ['10.0.0.1', '169.254.169.254', PUBLIC],
  'mixed-families.example': () => [PUBLIC, '::1'],
  'mixed-families-2.example': () => ['127.0.0.1', PUBLIC_6],
  'all-bad.example': () => ['127.0.0.1', '::1', '169.254.169.254', '::ffff:127.0.0.1'],
}

let canary: Canary
/** Where public addresses lead in this test, since nothing may leave the machine. */
let sink: Server
let names: NameServer
let offered: string[] = []

beforeAll(async () => {
  canary = await openCanary('127.0.0.1')
  sink = createServer((socket) => socket.on('error', () => undefined).destroy())
  await new Promise<void>((resolve) => sink.listen(0, '127.0.0.1', resolve))
})
beforeEach(async () => {
  await names?.close()
  names = await openNameServer((name, n) => ZONE[name]?.(n))
  offered = []
})
afterAll(async () => {
  await canary.close()
  await names.close()
  await new Promise((resolve) => sink.close(resolve))
})

const isHere = (address: string): boolean => /^(127\.|::1$|::ffff:|0\.0\.0\.0$)/.test(address)

/** A small internet: an address of this machine leads to the canary, every other one to the sink. */
const internet: ConnectTcp = ({ host, lookup }) => {
  let leadsHere = false
  // What is judged already is answered at once.
  lookup(host, { all: true }, (_, addresses) => {
    for (const { address } of addresses as unknown as LookupAddress[]) {
      offered.push(address)
      leadsHere ||= isHere(address)
    }
  })
  return connect({ host: '127.0.0.1', port: leadsHere ? canary.port : portOf(sink) })
}

const portOf = (server: Server): number => (server.address() as AddressInfo).port

async function send(url: string, times: number): Promise<EgressResult[]> {
  const pool = new Agent({
    connect: createDial({
      clock: systemClock,
      policy: { ...EGRESS_POLICY, ...PATIENCE },
      allowPrivate: false,
      certificates: createCertificates(systemClock, 10),
      resolve: names.resolve,
      connect: internet,
    }),
  })
  const egress = createEgress({ clock: systemClock, policy: PATIENCE, dispatcher: pool })
  const results: EgressResult[] = []
  for (let i = 0; i < times; i++)
    results.push(
      await egress.send({ method: 'GET', url, headers: {}, timeoutMs: PATIENT_MS, allowPrivate: false }),
    )
  await egress.destroy()
  return results
}

describe('a name that changes its answer', () => {
  it.each(['rebind.example', 'rebind6.example', 'first-bad.example'])(
    'never gives us what was not judged: %s',
    async (name) => {
      const before = canary.hits()
      await send(`https://${name}/`, 20)
      expect(canary.hits()).toBe(before)
      // Both kinds of answer came, and only what passes the policy was ever offered to the dial.
      expect(offered.length).toBeGreaterThan(0)
      expect(offered.filter((address) => refusalOfAddress(address, false, true) !== undefined)).toEqual([])
    },
  )

  it('is asked once for each connection: there is no second question to answer otherwise', async () => {
    await send('https://rebind.example/', 10)
    expect(names.asked('rebind.example')).toBe(20) // IPv4 and IPv6, once each
  })

  it('the control: a client that checks first and connects by name is hit', async () => {
    const before = canary.hits()
    for (let i = 0; i < 5; i++) await checkThenConnect('rebind.example', names.resolve)
    expect(canary.hits()).toBe(before + 5)
  })

  async function checkThenConnect(host: string, resolve: Resolve): Promise<void> {
    const ask = (): Promise<readonly LookupAddress[]> =>
      new Promise((found, failed) => resolve(host, (error, all) => (error ? failed(error) : found(all))))
    const checked = await ask()
    if (checked.some(({ address }) => refusalOfAddress(address, false, true) !== undefined)) return
    const [used] = await ask()
    const port = isHere(used!.address) ? canary.port : portOf(sink)
    await new Promise<void>((done) => {
      const socket = connect({ host: '127.0.0.1', port }, () => socket.end('x'))
      socket.resume().on('close', () => done())
    })
  }
})

describe('an answer with good and bad addresses', () => {
  it.each(['mixed.example', 'mixed-order.example', 'mixed-families.example', 'mixed-families-2.example'])(
    'is used without the bad ones: %s',
    async (name) => {
      const before = canary.hits()
      await send(`https://${name}/`, 3)
      expect(canary.hits()).toBe(before)
      expect(new Set(offered).size).toBe(1)
      expect([PUBLIC, PUBLIC_6]).toContain(offered[0])
    },
  )

  it('is refused where all are bad, whatever their order and family', async () => {
    for (const result of await send('https://all-bad.example/', 3))
      expect(result).toMatchObject({ as: 'not_sent', code: 'egress_denied' })
    expect(offered).toEqual([])
  })
})
