/** A redirect is an answer: it is not followed, so it leads nowhere and carries nothing to another origin. */
import { createServer, type AddressInfo, type Server } from 'node:net'
import { Agent, interceptors, request } from 'undici'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { systemClock } from '../../src/base/index.ts'
import { createEgress, type EgressResult } from '../../src/egress/index.ts'
import { openCanary, type Canary } from './canary.ts'
import { THIS_MACHINE } from './forms.ts'
import { PATIENCE, PATIENT_MS } from './patience.ts'

const STATUSES = [300, 301, 302, 303, 305, 307, 308]
const CREDENTIALS = {
  authorization: 'Bearer token-of-the-connection',
  cookie: 'session=of-the-connection',
  'x-api-key': 'key-of-the-connection',
}
const BODY = Buffer.from('{"card":"body-of-the-request"}')

let canary: Canary
let hop: Server
let hops = 0
let location = ''
let status = 302

beforeAll(async () => {
  canary = await openCanary('127.0.0.1')
  hop = createServer((socket) => {
    socket.on('error', () => undefined)
    socket.once('data', () => {
      hops++
      const head = `HTTP/1.1 ${status} Elsewhere\r\nlocation: ${location}\r\nrefresh: 0; url=${location}\r\n`
      socket.end(`${head}content-length: 0\r\nconnection: close\r\n\r\n`, 'utf8')
    })
  })
  await new Promise<void>((resolve) => hop.listen(0, '127.0.0.1', resolve))
})
afterAll(async () => {
  await canary.close()
  await new Promise((resolve) => hop.close(resolve))
})

const hopUrl = (): string => `http://127.0.0.1:${(hop.address() as AddressInfo).port}/v1/charges`

async function post(to: number, where: string): Promise<EgressResult> {
  status = to
  location = where
  // With leave to private networks, where the target's address alone would stop nothing.
  const egress = createEgress({ clock: systemClock, policy: PATIENCE })
  try {
    return await egress.send({
      method: 'POST',
      url: hopUrl(),
      headers: CREDENTIALS,
      body: BODY,
      timeoutMs: PATIENT_MS,
      allowPrivate: true,
    })
  } finally {
    await egress.destroy()
  }
}

describe('a redirect', () => {
  it.each(STATUSES)('with %i to another origin carries nothing there', async (to) => {
    const before = canary.hits()
    const result = await post(to, `http://127.0.0.1:${canary.port}/`)
    expect(result).toMatchObject({ as: 'answered', status: to })
    expect(canary.hits()).toBe(before)
    expect(canary.heard()).toBe('')
  })

  it('to any way of writing this machine is an answer, and the canary is not hit', async () => {
    const [before, hopsBefore] = [canary.hits(), hops]
    for (const host of THIS_MACHINE)
      expect(await post(308, `http://${encodeURI(host)}:${canary.port}/`)).toMatchObject({ as: 'answered' })
    for (const url of ['file:///etc/passwd', '//127.0.0.1/', `http://169.254.169.254/latest/meta-data/`])
      expect(await post(307, url)).toMatchObject({ as: 'answered' })
    expect([canary.hits(), hops]).toEqual([before, hopsBefore + THIS_MACHINE.length + 3])
  })

  it('the control: a client that follows a 308 hits the canary, and the key and the body go along', async () => {
    status = 308
    location = `http://127.0.0.1:${canary.port}/`
    const before = canary.hits()
    const dispatcher = new Agent().compose(interceptors.redirect({ maxRedirections: 3 }))
    await request(hopUrl(), { method: 'POST', headers: CREDENTIALS, body: BODY, dispatcher })
    expect(canary.hits()).toBe(before + 1)
    expect(canary.heard()).toContain('key-of-the-connection')
    await dispatcher.close()
  })
})
