import { appendFile, mkdir, mkdtemp, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Client, Pool } from 'pg'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { pause, systemClock } from '../../base/index.ts'
import {
  backupEmbedded,
  readManifest,
  restoreEmbedded,
  startEmbeddedPostgres,
  verifyBackupFiles,
  withScratchServer,
  type BackupFacts,
  type BackupOptions,
  type EmbeddedPostgres,
} from './index.ts'
import { segmentsBetween } from './backup.ts'
import { restoreMark } from './restoreMark.ts'

const clock = systemClock
let home: string
let server: EmbeddedPostgres
let pool: Pool

beforeAll(async () => {
  home = await mkdtemp(join(tmpdir(), 'trestle-backup-'))
  server = await startEmbeddedPostgres({ dataDir: join(home, 'postgres') })
  pool = new Pool({ connectionString: server.url, max: 6 })
  pool.on('error', () => {})
  await pool.query(
    'create table written (n bigserial primary key, at timestamptz default now(), filler text)',
  )
})
afterAll(async () => {
  await pool.end()
  await server.stop()
  await rm(home, { recursive: true, force: true })
})

const known: BackupFacts = {
  postgres: '18.4',
  trestle: 'test',
  migrations: [],
  ledger: null,
  counts: {},
  masterKeys: [],
}

function backup(name: string, over: Partial<BackupOptions> = {}): ReturnType<typeof backupEmbedded> {
  return backupEmbedded({
    dataDir: join(home, 'postgres'),
    url: server.url,
    to: join(home, name),
    clock,
    facts: () => Promise.resolve(known),
    ...over,
  })
}

/** Writes in several connections until told to end; answers the highest number acknowledged so far. */
function underLoad(): { acknowledged: () => number; count: () => number; end(): Promise<void> } {
  const ended = new AbortController()
  let highest = 0
  let count = 0
  const write = async (): Promise<void> => {
    while (!ended.signal.aborted) {
      const { rows } = await pool.query<{ n: string }>(
        `insert into written (filler) select repeat('x', 500) from generate_series(1, 20) returning n`,
      )
      count += rows.length
      highest = Math.max(highest, ...rows.map((row) => Number(row.n)))
    }
  }
  const writers = Promise.all([write(), write(), write()])
  return {
    acknowledged: () => highest,
    count: () => count,
    async end() {
      ended.abort()
      await writers
    },
  }
}

async function numbersIn(url: string): Promise<{ count: number; highest: number }> {
  const client = new Client({ connectionString: url })
  await client.connect()
  try {
    const { rows } = await client.query<{ count: string; highest: string }>(
      'select count(*) as count, max(n) as highest from written',
    )
    return { count: Number(rows[0]!.count), highest: Number(rows[0]!.highest) }
  } finally {
    await client.end()
  }
}

describe('a backup made under load', () => {
  it('holds everything that was acknowledged before it ended, and recovers', async () => {
    const load = underLoad()
    while (load.count() < 2000) await pause(clock, 10, { keepAlive: true })
    let before = 0
    const told: number[] = []
    const manifest = await backup('under-load', {
      facts: async (client) => {
        // More log than PostgreSQL would keep by itself, and a checkpoint that would let go of it.
        await client.query(
          `insert into written (filler) select repeat('y', 1000) from generate_series(1, 60000)`,
        )
        await client.query('checkpoint')
        before = load.count() + 60_000
        return known
      },
      onProgress: (done, total) => told.push(done / total),
    })
    await load.end()
    const after = load.count() + 60_000
    expect(manifest.log.first < manifest.log.last).toBe(true)
    expect(told.at(-1)).toBeGreaterThan(0.5)
    expect((await verifyBackupFiles(join(home, 'under-load'))).problems).toEqual([])
    const found = await withScratchServer({ from: join(home, 'under-load'), below: home }, ({ url }) =>
      numbersIn(url),
    )
    expect(found.count).toBeGreaterThanOrEqual(before)
    expect(found.count).toBeLessThanOrEqual(after)
    expect((await readdir(home)).filter((name) => name.includes('scratch'))).toEqual([])
    // Nothing is left of it at the server.
    const { rows } = await pool.query('select 1 from pg_replication_slots')
    expect(rows).toEqual([])
  })

  it('control: without the log that came with it the copy does not recover', async () => {
    const from = join(home, 'without-log')
    await backup('without-log')
    const manifest = await readManifest(from)
    for (const { path } of manifest.files.filter((file) => file.path.startsWith('pg_wal/')))
      await rm(join(from, 'data', path))
    await expect(withScratchServer({ from, below: home }, () => Promise.resolve())).rejects.toMatchObject({
      code: 'backup_damaged',
    })
    const files = manifest.files.filter((file) => !file.path.startsWith('pg_wal/'))
    const { digestOf } = await import('./backupManifest.ts')
    const { digest: _, ...unsigned } = { ...manifest, files }
    await writeFile(join(from, 'manifest.json'), JSON.stringify({ ...unsigned, digest: digestOf(unsigned) }))
    await expect(withScratchServer({ from, below: home }, () => Promise.resolve())).rejects.toMatchObject({
      code: 'embedded_postgres_start_failed',
    })
  })
})

describe('a backup', () => {
  it('bears its name only when it is whole: what is cut short is refused, and leaves nothing', async () => {
    await expect(
      backup('cut-short', { facts: () => Promise.reject(new Error('the machine went away')) }),
    ).rejects.toThrow('the machine went away')
    expect((await readdir(home)).filter((name) => name.startsWith('cut-short'))).toEqual([])
    // As a killed process leaves it: no manifest.
    await mkdir(join(home, 'killed.partial-999999999-0a0b0c0d', 'data'), { recursive: true })
    await expect(readManifest(join(home, 'killed.partial-999999999-0a0b0c0d'))).rejects.toMatchObject({
      code: 'backup_incomplete',
    })
    await backup('killed')
    expect((await readdir(home)).filter((name) => name.startsWith('killed'))).toEqual(['killed'])
    await expect(backup('killed')).rejects.toMatchObject({ code: 'backup_exists' })
    await expect(readManifest(join(home, 'nowhere'))).rejects.toMatchObject({ code: 'backup_missing' })
  })

  it('with one changed byte, a missing or a strange file is not what was written', async () => {
    await backup('changed')
    const from = join(home, 'changed')
    const base = join(from, 'data', 'base')
    const database = (await readdir(base)).find((name) => /^\d+$/.test(name))
    const victim = join(base, database!, 'PG_VERSION')
    await appendFile(victim, 'x')
    await writeFile(join(from, 'data', 'global', 'strange'), '')
    await rename(join(from, 'data', 'pg_hba.conf'), join(home, 'hba'))
    const { problems } = await verifyBackupFiles(from)
    expect(problems.map(({ problem }) => problem).sort()).toEqual(['changed', 'missing', 'unexpected'])
    await expect(
      restoreEmbedded({
        from,
        dataDir: join(home, 'other'),
        replace: false,
        clock,
        mark: () => Promise.resolve(),
      }),
    ).rejects.toMatchObject({ code: 'backup_damaged' })
    expect((await readdir(home)).filter((name) => name.startsWith('other'))).toEqual([])
    const manifest = await readFile(join(from, 'manifest.json'), 'utf8')
    await writeFile(join(from, 'manifest.json'), manifest.replace('"trestle": "test"', '"trestle": "tess"'))
    await expect(readManifest(from)).rejects.toMatchObject({ code: 'backup_damaged' })
  })

  it('counts the segments of the log over a border', () => {
    expect(segmentsBetween('0000000100000001000000FE', '000000010000000200000001')).toEqual([
      '0000000100000001000000FE',
      '0000000100000001000000FF',
      '000000010000000200000000',
      '000000010000000200000001',
    ])
  })
})

describe('a restore', () => {
  it('refuses a running server and data that is there, marks first, and keeps the former data', async () => {
    await backup('good')
    const from = join(home, 'good')
    const dataDir = join(home, 'postgres')
    const marked: string[] = []
    const options = {
      from,
      dataDir,
      clock,
      mark: async (url: string) => {
        marked.push(url)
        const client = new Client({ connectionString: url })
        await client.connect()
        await client.query('create table marked (n int)')
        await client.end()
      },
    }
    await expect(restoreEmbedded({ ...options, replace: true })).rejects.toMatchObject({
      code: 'server_running',
    })
    const { count } = await numbersIn(server.url)
    await pool.query(`insert into written (filler) values ('after the backup')`)
    const port = server.port
    await server.stop()
    await expect(restoreEmbedded({ ...options, replace: false })).rejects.toMatchObject({
      code: 'restore_occupied',
    })
    await expect(
      restoreEmbedded({ ...options, replace: true, mark: () => Promise.reject(new Error('no')) }),
    ).rejects.toThrow('no')
    expect((await readdir(home)).filter((name) => name.startsWith('postgres'))).toEqual(['postgres'])
    const { keptAside } = await restoreEmbedded({ ...options, replace: true })
    expect(marked).toHaveLength(1)
    // By which the next start asks for it first, see start.test.ts: somebody else may have taken it by then.
    expect(await readFile(join(dataDir, 'port'), 'utf8')).toBe(`${port}\n`)
    server = await startEmbeddedPostgres({ dataDir })
    expect((await numbersIn(server.url)).count).toBe(count)
    const old = await startEmbeddedPostgres({ dataDir: keptAside! })
    expect((await numbersIn(old.url)).count).toBe(count + 1)
    await old.stop()
  })

  it('that is cut short between its two renames lets no empty server start', async () => {
    const dataDir = join(home, 'half')
    await writeFile(restoreMark(dataDir), '')
    await expect(startEmbeddedPostgres({ dataDir })).rejects.toMatchObject({ code: 'restore_cut_short' })
    await restoreEmbedded({
      from: join(home, 'good'),
      dataDir,
      replace: false,
      clock,
      mark: () => Promise.resolve(),
    })
    expect(await stat(restoreMark(dataDir)).catch(() => 'gone')).toBe('gone')
    const half = await startEmbeddedPostgres({ dataDir })
    await half.stop()
  })
})
