/** A rotation that cannot end, as another holds a value: it keeps its place while it waits, and leaves it when stopped. */
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest'
import { systemRandom } from '../base/index.ts'
import { env } from '../define/index.ts'
import { localMasterKey, type MasterKey } from './masterKey.ts'
import { connectorWith, ENVIRONMENT, openVaultFixture, type VaultFixture } from './vault.fixture.ts'

const PAY = connectorWith('pay', { kind: 'bearer' })
const REQUEST = { actor: 'operator:ada', tenant: 'default' } as const

let fixture: VaultFixture
let key: MasterKey
beforeAll(async () => {
  fixture = await openVaultFixture()
})
afterAll(() => fixture.close())
beforeEach(async () => {
  await fixture.clear()
  Object.assign(ENVIRONMENT, { ONE: 'sk_1', TWO: 'sk_2' })
  await fixture.vault.syncDeclared('default', {
    one: PAY.connect({ secrets: { token: env('ONE') } }),
    two: PAY.connect({ secrets: { token: env('TWO') } }),
  })
  key = { ...localMasterKey(systemRandom.bytes(32), systemRandom), former: fixture.key }
})

/** While `work` goes on, a transaction holds the secret of the connection `one`. */
async function whileHeld(work: () => Promise<void>): Promise<void> {
  const client = await fixture.database.pool.connect()
  try {
    await client.query('begin')
    await client.query(
      `select 1 from secrets s join connections c on c.id = s.connection_id where c.name = 'one' for update of s`,
    )
    await work()
  } finally {
    await client.query('rollback')
    client.release()
  }
}

/** Until all but what is held is sealed anew. */
async function allButOne(): Promise<void> {
  for (;;) {
    const { sealed } = await fixture.vault.masterKeyState()
    if (sealed.get(fixture.key.wrapper.id) === 1) return
  }
}

it('one that is stopped ends after the batch at hand, and whoever goes on finds its place free', async () => {
  await whileHeld(async () => {
    const stop = new AbortController()
    const rotation = fixture.node({ key }).rotateMasterKey({ ...REQUEST, signal: stop.signal })
    const ended = rotation.catch((error: unknown) => error)
    await allButOne()
    stop.abort()
    expect(await ended).toMatchObject({
      code: 'rotation_stopped',
      message: expect.stringMatching(/1 of 2 values .*trestle vault rotate/) as string,
    })
    const { rotations } = await fixture.vault.masterKeyState()
    expect(rotations).toMatchObject([{ sealedAnew: 1, runner: undefined, finishedAt: undefined }])
  })
  expect(await fixture.node({ key }).rotateMasterKey(REQUEST)).toMatchObject({
    resumed: true,
    sealedAnew: 1,
    sealed: 2,
  })
})

it('one that waits keeps its place as long as it waits, however long that is', async () => {
  let rotation: Promise<unknown> | undefined
  await whileHeld(async () => {
    rotation = fixture.node({ key }).rotateMasterKey(REQUEST)
    await allButOne()
    await fixture.database.pool.query(
      `update master_key_rotations set runner_until = clock_timestamp() - interval '1 second'`,
    )
    for (;;) {
      const { rotations } = await fixture.vault.masterKeyState()
      if (rotations[0]?.runner !== undefined) break
    }
    await expect(fixture.node({ key }).rotateMasterKey(REQUEST)).rejects.toMatchObject({
      code: 'rotation_under_way',
    })
  })
  await rotation
})
