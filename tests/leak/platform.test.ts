import { readdir, readFile } from 'node:fs/promises'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterAll, beforeAll, expect, it, vi } from 'vitest'
import { customersOf } from '../../examples/business-day/people.ts'
import { HOUR, systemRandom } from '../../src/base/index.ts'
import { openMailServer, type MailServer } from '../../src/incidents/incidents.fixture.ts'
import { startJourney, type Journey } from '../journeys/support.ts'
import { dumpOf, leaksIn } from '../support/leaks.ts'

const [ada] = customersOf('known')
const [barbara] = customersOf('new')

let journey: Journey
let hook: Server
let hooked = 0
let mail: MailServer
const ALERTS_SECRET = `whsec_${systemRandom.bytes(32).toString('base64')}`
const MAIL_PASSWORD = `mail+/ü"&=%${systemRandom.bytes(12).toString('hex')}`
const printed: string[] = []
beforeAll(async () => {
  for (const stream of [process.stdout, process.stderr]) {
    const write = stream.write.bind(stream)
    vi.spyOn(stream, 'write').mockImplementation(((text: string | Uint8Array, ...rest: never[]) => {
      printed.push(String(text))
      return write(text, ...rest)
    }) as typeof stream.write)
  }
  hook = createServer((request, response) => {
    request.resume()
    hooked += request.headers['webhook-signature'] === undefined ? 0 : 1
    response.writeHead(204).end()
  })
  await new Promise<void>((resolve) => hook.listen(0, '127.0.0.1', resolve))
  mail = await openMailServer({
    authOptional: false,
    allowInsecureAuth: true,
    onAuth: ({ password }, _session, done) =>
      password === MAIL_PASSWORD ? done(null, { user: 'trestle' }) : done(new Error(`not ${password}`)),
  })
  const smtp = { host: '127.0.0.1', port: mail.port, tls: 'none', allowPrivateNetwork: true } as const
  journey = await startJourney('leak', {
    webhook: {
      url: `http://127.0.0.1:${(hook.address() as AddressInfo).port}/alerts`,
      secret: ALERTS_SECRET,
      allowPrivateNetwork: true,
    },
    email: {
      to: 'ops@example.com',
      from: 'trestle@example.com',
      smtp: { ...smtp, user: 'trestle', password: MAIL_PASSWORD },
    },
  })
})
afterAll(async () => {
  vi.restoreAllMocks()
  await journey.stop()
  hook.closeAllConnections()
  hook.close()
  await mail.close()
})

/** Whatever the platform was given or has made that opens something. Names, addresses and ids of accounts open nothing. */
function secretsOf({ twins, inside }: Journey): Map<string, string> {
  const secrets = new Map(
    Object.entries(twins.environment).filter(([name]) => /KEY|SECRET|TOKEN$/.test(name)),
  )
  for (const { headers, body, path } of twins.all.flatMap((twin) => twin.requests())) {
    const [scheme, value] = (headers['authorization'] ?? '').split(' ')
    if (value !== undefined) secrets.set(`${scheme} ${value.slice(0, 4)}… as sent`, value)
    if (!path.includes('oauth2')) continue
    const refresh = new URLSearchParams(body).get('refresh_token')
    if (refresh !== null) secrets.set(`refresh token ${refresh.slice(-4)}`, refresh)
  }
  secrets.set('secret of alerts by webhook', ALERTS_SECRET)
  secrets.set('password of alerts by e-mail', MAIL_PASSWORD)
  secrets.set('API token', inside.token)
  secrets.set('master key', inside.masterKey)
  secrets.set('master key, its bytes', Buffer.from(inside.masterKey, 'base64').toString('latin1'))
  return secrets
}

interface Listed {
  readonly id?: string
  readonly name?: string
}

/** Everything that the API shows of this day: each listing, and each thing of it. */
async function shownBy({ inside: { url, token } }: Journey): Promise<{ text: string; pages: number }> {
  const texts: string[] = []
  const get = async (path: string): Promise<string> => {
    const answer = await fetch(`${url}${path}`, { headers: { authorization: `Bearer ${token}` } })
    const text = await answer.text()
    texts.push([...answer.headers].join('\n'), text)
    return text
  }
  const { paths } = JSON.parse(await get('/api/v1/openapi.json')) as {
    paths: Record<string, { get?: unknown }>
  }
  const readable = Object.keys(paths).filter((path) => paths[path]!.get !== undefined)
  for (const path of readable.filter((one) => !one.includes('{'))) {
    const listed = JSON.parse(await get(`${path}?limit=200`)) as { items?: Listed[] }
    const one = readable.find((other) => other.startsWith(`${path}/{`) && other.endsWith('}'))
    for (const { id, name } of (one === undefined ? undefined : listed.items) ?? [])
      await get(`${path}/${encodeURIComponent((one!.endsWith('{name}') ? name : id) ?? '')}`)
  }
  await get('/api/v1/connections/nothing')
  await get('/')
  return { text: texts.join('\n'), pages: texts.length / 2 }
}

/** The arguments of every process that this one or its database began. */
async function argumentsOfAll(): Promise<string> {
  const processes = (await readdir('/proc').catch(() => [])).filter((name) => /^\d+$/.test(name))
  const texts = await Promise.all(
    processes.map((id) => readFile(`/proc/${id}/cmdline`, 'latin1').catch(() => '')),
  )
  return texts.join('\n')
}

it('a day of the whole platform leaves no secret in the database, the API, the output or the arguments of a process', async () => {
  const { salon, twins, done, later, inside } = journey
  await done(salon.pays(ada!, 4550), salon.pays(barbara!, 3000))
  // Tokens end, and are refreshed.
  later(2 * HOUR)
  // Providers that repeat in an error what they were sent.
  const echo = (secret: string): string =>
    JSON.stringify({ message: `no: ${secret} is not welcome`, token: secret })
  twins.hubspot.faults.failNext(1, 400, { body: echo('pat-twin') })
  twins.quickbooks.faults.failNext(1, 400, {
    body: echo(String(twins.quickbooks.requests().at(-1)!.headers['authorization'])),
  })
  salon.pays(ada!, 900)
  salon.pays(barbara!, 800)
  const failed = 'dead_lettered'
  await journey.until(async () => {
    const { rows } = await inside.pool.query<{ state: string }>('select state from runs')
    const states = rows.map(({ state }) => state)
    return (
      states.includes(failed) &&
      states.every((state) => ['succeeded', 'undone', 'held', failed].includes(state))
    )
  })

  // Somebody was told of it, with what alerts are signed and sent with.
  await journey.until(() => hooked > 0 && mail.mails.length > 0)

  const secrets = secretsOf(journey)
  expect(secrets.size).toBeGreaterThan(16)
  const { text, pages } = await shownBy(journey)
  expect(pages).toBeGreaterThan(30)
  const places = {
    database: await dumpOf(inside.pool),
    api: Buffer.from(text),
    output: Buffer.from(printed.join('')),
    arguments: Buffer.from(await argumentsOfAll()),
  }
  // Each is of the right day.
  expect(places.database.includes('payment-received')).toBe(true)
  expect(places.api.includes('payment-received')).toBe(true)
  const found = Object.entries(places).flatMap(([place, where]) =>
    [...secrets]
      .filter(([, value]) => leaksIn(where, [value]).length > 0)
      .map(([name]) => `${name} in ${place}`),
  )
  expect(found).toEqual([])

  // CONTROL: a secret in a column that nobody thought of is found.
  await inside.pool.query(`update runs set reason = $1 where id = (select id from runs limit 1)`, [
    `sent ${Buffer.from(twins.environment['STRIPE_API_KEY']!).toString('base64')}`,
  ])
  expect(leaksIn(await dumpOf(inside.pool), [twins.environment['STRIPE_API_KEY']!])).toHaveLength(1)
})
