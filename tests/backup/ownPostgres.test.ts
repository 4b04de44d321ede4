import { execFile } from 'node:child_process'
import { existsSync, readdirSync } from 'node:fs'
import { chown, mkdtemp, rename, rm } from 'node:fs/promises'
import { createServer, type AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { systemClock, systemRandom } from '../../src/base/index.ts'
import { chooseAccount, readPasswd, type Account } from '../../src/db/embedded/account.ts'
import { migrate, openDatabase, type Database } from '../../src/db/index.ts'
import { installDispatch } from '../../src/dispatch/index.ts'
import { LedgerSealer, newestBlock, openLedgerKey } from '../../src/ledger/index.ts'
import { readHolds, reportHold } from '../../src/operator/index.ts'
import { holdWhereRolledBack } from '../../src/runtime/hold.ts'
import { startTestEngine } from '../support/engine.ts'
import { acting, flow } from '../support/runBench.ts'

/**
 * What docs/guides/backup.md says of a PostgreSQL of one's own, with the very commands that stand there, where its tools
 * are installed: /usr/lib/postgresql/VERSION/bin, or the folder that TRESTLE_TEST_POSTGRES_BIN names.
 */
const bin = findTools()

function findTools(): string | undefined {
  const given = process.env['TRESTLE_TEST_POSTGRES_BIN']
  const root = '/usr/lib/postgresql'
  const found = existsSync(root) ? readdirSync(root).map((version) => join(root, version, 'bin')) : []
  return [...(given === undefined ? [] : [given]), ...found.sort().reverse()].find((folder) =>
    ['initdb', 'pg_ctl', 'pg_basebackup', 'pg_verifybackup'].every((tool) => existsSync(join(folder, tool))),
  )
}

describe.skipIf(bin === undefined)("a PostgreSQL of one's own", () => {
  let home: string
  let account: Account | undefined
  let port: number
  const run = async (tool: string, ...args: string[]): Promise<string> => {
    const { stdout } = await promisify(execFile)(join(bin!, tool), args, {
      cwd: home,
      env: {
        PATH: process.env['PATH'],
        PGUSER: 'trestle',
        PGHOST: '127.0.0.1',
        PGPORT: String(port),
        LC_ALL: 'C',
      },
      ...account,
    })
    return stdout
  }
  const start = (data: string): Promise<string> =>
    run('pg_ctl', 'start', '-w', '-s', '-D', data, '-l', join(home, 'log'), '-o', `-p ${port} -k ${home}`)
  const stop = (data: string, mode = 'fast'): Promise<string> =>
    run('pg_ctl', 'stop', '-w', '-s', '-m', mode, '-D', data)
  const open = (): Database => openDatabase({ url: url(), max: 5 })
  const url = (): string => `postgres://trestle@127.0.0.1:${port}/trestle`

  beforeAll(async () => {
    home = await mkdtemp(join(tmpdir(), 'trestle-own-'))
    account = chooseAccount({
      platform: process.platform,
      uid: process.getuid?.(),
      dataOwner: undefined,
      passwd: await readPasswd(),
    })
    if (account) await chown(home, account.uid, account.gid)
    port = await freePort()
    await run('initdb', '-D', join(home, 'data'), '-U', 'trestle', '--auth=trust', '-N')
    await start(join(home, 'data'))
    const database = openDatabase({ url: url().replace(/trestle$/, 'postgres'), max: 1 })
    await database.pool.query('create database trestle')
    await database.close()
  })
  afterAll(async () => {
    await stop(join(home, 'data'), 'immediate').catch(() => undefined)
    await rm(home, { recursive: true, force: true })
  })

  it('is copied while it is used, put back, and known to be older than what had left it', async () => {
    const first = open()
    await migrate(first)
    await installDispatch(first)
    const key = await openLedgerKey(
      first.pool,
      { seal: (plain) => plain, open: (sealed) => sealed },
      systemRandom,
    )
    const seal = async (database: Database): Promise<void> => {
      const sealer = new LedgerSealer({
        pool: database.pool,
        key,
        clock: systemClock,
        publish: () => {},
        onError: (error) => {
          throw error
        },
      })
      await sealer.sealNow()
      await sealer.stop()
    }
    const before = await startTestEngine(
      { url: url(), drop: () => Promise.resolve() },
      { flows: [flow(() => 1)], idle: true },
    )
    const kept = await before.deliver('thing.happened', { n: 1 })
    await seal(first)

    const copiedAt = systemClock.now()
    await run('pg_basebackup', '--pgdata', join(home, 'copy'), '--wal-method=stream', '--checkpoint=fast')
    await run('pg_verifybackup', join(home, 'copy'))

    const lost = await before.deliver('thing.happened', { n: 2 })
    await seal(first)
    const known = await newestBlock(first.pool)
    await before.stop()
    await first.close()
    await stop(join(home, 'data'), 'immediate')
    await rename(join(home, 'data'), join(home, 'data.before'))
    await rename(join(home, 'copy'), join(home, 'data'))
    await start(join(home, 'data'))

    const second = open()
    const after = await startTestEngine(
      { url: url(), drop: () => Promise.resolve() },
      { flows: [flow(() => 1)], idle: true },
    )
    try {
      const events = await second.pool.query('select id from events')
      expect(events.rows).toEqual([{ id: kept.event }])
      expect(lost.event).not.toBe(kept.event)
      // A node that starts with the checkpoints of the former life does not claim.
      expect(await holdWhereRolledBack({ database: second, clock: systemClock }, known)).toBe(true)
      expect((await readHolds(second.pool)).open).toMatchObject({ kind: 'rolled_back' })
      // A person who knows more says so.
      await after.operator.hold({ reason: 'The disk was replaced.', restored: { from: copiedAt } }, acting)
      const report = await reportHold(second.pool, 'default')
      expect(report.counts).toMatchObject([{ flow: 'test', state: 'queued', runs: 1 }])
      await after.engine.start()
      expect((await second.pool.query('select 1 from runs where fence > 0')).rows).toEqual([])
      expect(await after.operator.releaseHold(acting)).toHaveLength(2)
      await second.pool.query('update runs set due_at = now()')
      await after.reached(kept.runs[0]!, 'succeeded')
      expect((await readHolds(second.pool)).lostTimes).toHaveLength(2)
    } finally {
      await after.stop()
      await second.close()
    }
  })

  it('control: a database that is as new as its checkpoints, or another one, is not taken for older', async () => {
    const database = open()
    const known = await newestBlock(database.pool)
    expect(await holdWhereRolledBack({ database, clock: systemClock }, known)).toBe(false)
    expect(await holdWhereRolledBack({ database, clock: systemClock }, undefined)).toBe(false)
    const foreign = { ...known!, number: 999, publicKey: '00'.repeat(32) }
    expect(await holdWhereRolledBack({ database, clock: systemClock }, foreign)).toBe(false)
    await database.close()
  })
})

function freePort(): Promise<number> {
  return new Promise((resolve) => {
    const server = createServer()
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address() as AddressInfo
      server.close(() => resolve(port))
    })
  })
}
