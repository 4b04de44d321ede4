/** What is noted of the certificates of connections' servers, and forecast. */
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest'
import { DAY, MINUTE, turn } from '../base/index.ts'
import type { ServerCertificate } from '../egress/index.ts'
import type { Connection } from './connections.ts'
import { connectorWith, openVaultFixture, type VaultFixture } from './vault.fixture.ts'
import type { Vault } from './vault.ts'

const shop = connectorWith('shop', { kind: 'api_key', header: 'X-Key' })
const URL_OF_SHOP = 'https://shop.example/ping'

let fixture: VaultFixture
let vault: Vault
let shown: ServerCertificate | undefined
beforeAll(async () => {
  fixture = await openVaultFixture()
  vault = fixture.node({ certificateOf: (url) => (url === URL_OF_SHOP ? shown : undefined) })
})
afterAll(() => fixture.close())
beforeEach(async () => {
  await fixture.clear()
  await fixture.database.pool.query('delete from connection_checks')
  shown = certificate(5)
})

const inDays = (days: number): Date => new Date(fixture.clock.now() + days * DAY)
const certificate = (days: number): ServerCertificate => ({ from: inDays(days - 90), endsAt: inDays(days) })

async function added(allowPrivateNetwork: boolean): Promise<Connection> {
  const definition = shop.connect({ secrets: { apiKey: 'key-1' }, allowPrivateNetwork })
  await vault.addConnection({ tenant: 'default', name: 'shop', definition, actor: 'operator:test' })
  return vault.loadConnection('default', 'shop')
}
const endings = async () => (await vault.listConnections('default'))[0]!.endings

it('a call that was answered notes it, within a minute, and once for all that were', async () => {
  const connection = await added(true)
  vault.noteUse(connection, URL_OF_SHOP)
  vault.noteUse(connection, URL_OF_SHOP)
  expect(await endings()).toEqual([])
  await fixture.clock.advance(MINUTE)
  await vault.drain()
  expect(await endings()).toEqual([
    {
      what: 'certificate',
      field: undefined,
      endsAt: shown!.endsAt,
      by: 'person',
      todo: 'Renew it on that server before.',
    },
  ])
})

it('what was noted is written when the process ends before that', async () => {
  vault.noteUse(await added(true), URL_OF_SHOP)
  await vault.drain()
  expect(await endings()).toMatchObject([{ what: 'certificate' }])
})

it('a write that is under way is waited for when the process ends', async () => {
  const { reader } = fixture.storage
  let goOn = (): void => {}
  const held = new Promise<void>((resolve) => (goOn = resolve))
  const query = async (text: unknown, values?: unknown[]): Promise<never> => {
    if (String(text).includes('into connection_checks')) await held
    return (await reader.query(text as string, values)) as never
  }
  const slow = fixture.node({
    storage: { ...fixture.storage, reader: { query } as typeof reader },
    certificateOf: () => shown,
  })
  slow.noteUse(await added(true), URL_OF_SHOP)
  await fixture.clock.advance(MINUTE)
  const drained = slow.drain()
  expect(await Promise.race([drained.then(() => 'drained'), turn().then(() => 'waiting')])).toBe('waiting')
  goOn()
  await drained
  expect(await endings()).toMatchObject([{ what: 'certificate' }])
})

it('a check of an idle connection notes it, and of what is not in a private network the provider sees to it', async () => {
  const connection = await added(false)
  await vault.claimChecks('default', { checker: 'nod_1', most: 10 })
  await fixture.clock.advance(2 * DAY)
  const [due] = await vault.claimChecks('default', { checker: 'nod_1', most: 10 })
  expect(due).toMatchObject({ id: connection.id })
  const accepted = {
    credential: 'accepted',
    outcome: 'succeeded',
    code: undefined,
    reason: undefined,
  } as const
  await vault.settleCheck(due!, 'nod_1', { ...accepted, url: URL_OF_SHOP })
  expect(await endings()).toMatchObject([{ what: 'certificate', endsAt: shown!.endsAt, by: 'provider' }])
})

it('another certificate takes its place; what shows none leaves it', async () => {
  const connection = await added(true)
  vault.noteUse(connection, URL_OF_SHOP)
  await vault.drain()
  const before = await endings()
  vault.noteUse(connection)
  await vault.drain()
  vault.noteUse(connection, 'https://elsewhere.example/')
  await vault.drain()
  expect(await endings()).toEqual(before)
  shown = certificate(95)
  vault.noteUse(connection, URL_OF_SHOP)
  await vault.drain()
  expect(await endings()).toMatchObject([{ endsAt: shown.endsAt }])
})
