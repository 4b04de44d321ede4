import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { createTestDatabase, type TestDatabase } from '../../tests/support/database.ts'
import { pause, systemClock, systemRandom, type Clock } from '../base/index.ts'
import { openInstallation } from './installation.ts'

let test: TestDatabase
let folder: string
beforeAll(async () => {
  test = await createTestDatabase()
  folder = await mkdtemp(join(tmpdir(), 'trestle-installation-'))
})
afterAll(async () => {
  await test.drop()
  await rm(folder, { recursive: true })
})

/** The machine's clock, counting the timers that keep the process alive. */
function countingClock(): Clock & { readonly held: () => number } {
  const held = new Set<object>()
  return {
    ...systemClock,
    after(ms, wake, options) {
      const timer = {}
      if (options?.keepAlive === true) held.add(timer)
      const fire = (): void => {
        held.delete(timer)
        wake()
      }
      const cancel = systemClock.after(ms, fire, options)
      return () => {
        held.delete(timer)
        cancel()
      }
    },
    held: () => held.size,
  }
}

it('a closed installation holds its process no longer: a command ends when its work is done', async () => {
  const clock = countingClock()
  const installation = await openInstallation({
    config: { connections: {}, flows: [], isConfig: true },
    folder,
    databaseUrl: test.url,
    environment: { TRESTLE_MASTER_KEY: systemRandom.bytes(32).toString('base64') },
    clock,
    random: systemRandom,
    development: false,
  })
  const under = pause(clock, 1, { keepAlive: true })
  expect(clock.held()).toBeGreaterThan(0)
  await installation.close()
  await under
  expect(clock.held()).toBe(0)
})
