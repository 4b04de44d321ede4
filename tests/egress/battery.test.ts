/**
 * Drill 12 in short: every way that we know to write an address that must not be reached, against a canary on this
 * machine that must not be hit. The control takes the policy away and is hit, which shows that the battery can fail.
 */
import { networkInterfaces } from 'node:os'
import type { LookupFunction } from 'node:net'
import { Agent, type Dispatcher } from 'undici'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { systemClock } from '../../src/base/index.ts'
import { createEgress, type EgressResult } from '../../src/egress/index.ts'
import { openCanary, type Canary } from './canary.ts'
import { NAME_FORMS, NAMES, NEVER, PRIVATE, THIS_MACHINE, THIS_MACHINE_V6, URLS } from './forms.ts'
import { openNameServer, type NameServer } from './nameServer.ts'
import { PATIENCE, PATIENT_MS } from './patience.ts'

const HOSTS = [...new Set([...THIS_MACHINE, ...THIS_MACHINE_V6, ...PRIVATE, ...NEVER, ...NAME_FORMS])]

let canary: Canary
let names: NameServer
beforeAll(async () => {
  canary = await openCanary()
  names = await openNameServer((name) => NAMES[name])
})
afterAll(async () => {
  await canary.close()
  await names.close()
})

const urlOf = (host: string): string => `https://${host}:${canary.port}/`
const withPort = (url: string): string => url.replaceAll('PORT', String(canary.port))

interface Way {
  /** Something that guards nothing, in place of the pools. */
  readonly dispatcher?: Dispatcher
  readonly allowPrivate?: boolean
}

async function sendAll(urls: readonly string[], way: Way = {}): Promise<(readonly [string, EgressResult])[]> {
  const egress = createEgress({
    clock: systemClock,
    policy: PATIENCE,
    resolve: names.resolve,
    ...(way.dispatcher && { dispatcher: way.dispatcher }),
  })
  try {
    return await Promise.all(
      urls.map(
        async (url) =>
          [
            url,
            await egress.send({
              method: 'GET',
              url,
              headers: { 'x-api-key': 'secret' },
              timeoutMs: PATIENT_MS,
              allowPrivate: way.allowPrivate ?? false,
            }),
          ] as const,
      ),
    )
  } finally {
    await egress.destroy()
  }
}

const outcome = (result: EgressResult): string => (result.as === 'not_sent' ? result.code : result.as)

describe('the battery', () => {
  it('has at least 200 forms', () => {
    expect(new Set([...HOSTS, ...URLS]).size).toBeGreaterThanOrEqual(200)
  })

  it('hits the canary with none of them', async () => {
    const before = canary.hits()
    const outcomes = await sendAll([...HOSTS.map(urlOf), ...URLS.map(withPort)])
    // What is no name that DNS can carry is never looked up; everything else is refused by the policy itself.
    const strange = outcomes.filter(
      ([, result]) => !['egress_denied', 'dns_failed'].includes(outcome(result)),
    )
    expect(strange).toEqual([])
    const unknown = outcomes.filter(([, result]) => outcome(result) === 'dns_failed').map(([url]) => url)
    expect(unknown.length).toBeLessThanOrEqual(10)
    expect(canary.hits()).toBe(before)
  })

  it('reaches metadata services, and what carries an address inside, with no leave at all', async () => {
    const before = canary.hits()
    const urls = NEVER.flatMap((host) => [urlOf(host), urlOf(host).replace('https', 'http')])
    const outcomes = await sendAll(urls, { allowPrivate: true })
    expect(outcomes.filter(([, result]) => outcome(result) !== 'egress_denied')).toEqual([])
    expect(canary.hits()).toBe(before)
  })
})

describe('the control, without the policy', () => {
  const lookup: LookupFunction = (host, options, done) =>
    names.resolve(host, (error, addresses) =>
      options.all === true
        ? done(error, [...addresses])
        : done(error, addresses[0]?.address ?? '', addresses[0]?.family),
    )
  const hasIpv6 = Object.values(networkInterfaces()).some((all) =>
    all?.some(({ address }) => address === '::1'),
  )

  it(`is hit by each of the ${THIS_MACHINE.length} ways to write this machine in IPv4`, async () => {
    const missed: string[] = []
    for (const host of THIS_MACHINE) {
      const before = canary.hits()
      await sendAll([urlOf(host)], { dispatcher: unguarded(), allowPrivate: true })
      if (canary.hits() === before) missed.push(host)
    }
    expect(missed).toEqual([])
    expect(THIS_MACHINE.length).toBeGreaterThanOrEqual(80)
  })

  it.skipIf(!hasIpv6)('and over IPv6, and by names that mean this machine', async () => {
    const before = canary.hits()
    for (const host of ['[::1]', '[::ffff:127.0.0.1]', '[::]', 'loop.example', 'six.example', 'localhost'])
      await sendAll([urlOf(host)], { dispatcher: unguarded(), allowPrivate: true })
    expect(canary.hits()).toBe(before + 6)
  })

  it('and with leave to private networks, which is the permission of a connection', async () => {
    const before = canary.hits()
    const urls = ['127.0.0.1', '2130706433', '0x7f.1', '①②⑦.0.0.1', 'loop.example'].map((host) =>
      urlOf(host).replace('https', 'http'),
    )
    const outcomes = await sendAll(urls, { allowPrivate: true })
    expect(outcomes.map(([, result]) => result.as)).toEqual(urls.map(() => 'answered'))
    expect(canary.hits()).toBe(before + urls.length)
  })

  function unguarded(): Agent {
    return new Agent({ connect: { lookup, timeout: PATIENT_MS } })
  }
})
