import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { createTestDatabase, type TestDatabase } from '../../tests/support/database.ts'
import { DAY, systemClock, systemRandom, turn, type Clock } from '../base/index.ts'
import { defineConfig } from '../define/index.ts'
import { openInstallation, type Installation } from './installation.ts'
import { createPlatform } from './platform.ts'

/** The machine's clock, which knows who waits on it, and for which time may pass faster. */
function watchedClock(faster = 1): Clock & { readonly waiting: () => number } {
  const waiting = new Set<object>()
  return {
    ...systemClock,
    after(ms, wake, options) {
      const one = {}
      waiting.add(one)
      const cancel = systemClock.after(
        ms / faster,
        () => {
          waiting.delete(one)
          wake()
        },
        options,
      )
      return () => {
        waiting.delete(one)
        cancel()
      }
    },
    waiting: () => waiting.size,
  }
}

let test: TestDatabase
let folder: string
let installation: Installation
beforeAll(async () => {
  test = await createTestDatabase()
  folder = await mkdtemp(join(tmpdir(), 'trestle-platform-'))
})
afterEach(() => installation.close())
afterAll(async () => {
  await rm(folder, { recursive: true })
  await test.drop()
})

async function install(clock: Clock): Promise<Installation> {
  installation = await openInstallation({
    config: defineConfig({ connections: {}, flows: [] }),
    folder,
    databaseUrl: test.url,
    environment: {},
    clock,
    random: systemRandom,
    development: true,
  })
  return installation
}

const options = { version: 'test', port: 0, watchdog: false } as const

describe('a platform', () => {
  it('that cannot start its worker leaves nothing behind that goes on', async () => {
    const clock = watchedClock()
    const whole = await install(clock)
    const listeners = process.listenerCount('unhandledRejection')
    const broken = new Error('no wake-ups can be heard')
    const dispatch = { ...whole.dispatch, start: () => Promise.reject(broken) }
    await expect(
      createPlatform({ ...whole, dispatch }, { ...options, roles: ['intake', 'worker', 'api'] }),
    ).rejects.toBe(broken)
    expect(process.listenerCount('unhandledRejection')).toBe(listeners)
    await turn()
    expect(clock.waiting()).toBe(0)
    const nodes = await whole.database.pool.query('select 1 from nodes where stopped_at is null')
    expect(nodes.rowCount).toBe(0)
  })

  it('stops all of its parts, also where one of them cannot be stopped', async () => {
    const clock = watchedClock()
    const whole = await install(clock)
    const stuck = new Error('it cannot be stopped')
    const dispatch = {
      ...whole.dispatch,
      stop: () => whole.dispatch.stop().then(() => Promise.reject(stuck)),
    }
    const faults: unknown[] = []
    const platform = await createPlatform(
      { ...whole, dispatch },
      { ...options, roles: ['intake', 'worker', 'api'], onFault: (_, error) => faults.push(error) },
    )
    await platform.stop()
    expect(faults).toEqual([stuck])
    await expect(fetch(`${platform.url}/health`)).rejects.toThrow('fetch failed')
    await turn()
    expect(clock.waiting()).toBe(0)
    const nodes = await whole.database.pool.query('select 1 from nodes where stopped_at is null')
    expect(nodes.rowCount).toBe(0)
  })

  it('drops what is kept no longer soon after its start, and not only an hour later', async () => {
    const whole = await install(watchedClock(60))
    const old = new Date(systemClock.now() - 40 * DAY).toISOString().slice(0, 10)
    const partition = `ledger_${old.replaceAll('-', '')}`
    await whole.database.pool.query(
      `create table ${partition} partition of ledger for values from ('${old}') to ('${old}'::date + 1)`,
    )
    const platform = await createPlatform(whole, { ...options, roles: ['api'] })
    for (;;) {
      const { rows } = await whole.database.pool.query<{ gone: boolean }>(
        `select to_regclass('${partition}') is null as gone`,
      )
      if (rows[0]!.gone) break
    }
    await platform.stop()
  })
})
