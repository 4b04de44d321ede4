import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { access, cp, mkdir, mkdtemp, readFile, rm, stat, writeFile, chown } from 'node:fs/promises'
import { createServer, type AddressInfo, type Server } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { Client } from 'pg'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { readPasswd, chooseAccount, type Account } from './account.ts'
import { turn } from '../../base/index.ts'
import { cacheFolders, findPackage, placeBinaries } from './binaries.ts'
import { runForOutput, runToLog, type Binaries } from './command.ts'
import { startEmbeddedPostgres, stopEmbeddedPostgres, type EmbeddedPostgres } from './index.ts'
import { argumentsOf, isProcessAlive } from './processes.ts'

const isRoot = process.getuid?.() === 0
const cleanUp: (() => Promise<unknown>)[] = []

/** A folder under one that is closed to everybody else, as a clone under root's home is. */
async function closedFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'trestle-embedded-'))
  const dataDir = join(folder, '.trestle', 'postgres')
  cleanUp.push(async () => {
    await stopEmbeddedPostgres(dataDir).catch(() => undefined)
    await rm(folder, { recursive: true, force: true })
  })
  return dataDir
}

/** The same after a first start, which takes longest. */
async function startedFolder(): Promise<string> {
  const dataDir = await closedFolder()
  await cp(startedOnce, dataDir, { recursive: true })
  return dataDir
}

async function query(url: string, statement: string): Promise<unknown[]> {
  const client = new Client({ connectionString: url })
  client.on('error', () => {})
  try {
    await client.connect()
    return (await client.query(statement)).rows
  } finally {
    await client.end().catch(() => undefined)
  }
}

/** Again where a file was gone before it was copied, as those are that the server renames. */
async function copyOfRunning(from: string, to: string): Promise<void> {
  for (;;)
    try {
      return await cp(from, to, { recursive: true })
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
      await rm(to, { recursive: true, force: true })
    }
}

const counted = (url: string): Promise<unknown[]> => query(url, 'select count(*)::int as n from facts')
const isRunning = async (pid: number): Promise<boolean> => (await argumentsOf(pid)) !== undefined

async function kill(pid: number): Promise<void> {
  process.kill(pid, 'SIGKILL')
  while (await isRunning(pid)) await turn()
}

/** Another Node process that starts the server of `dataDir`, says so in one line of JSON, and stays. */
function otherProcess(
  dataDir: string,
  options: { detached?: boolean; before?: string; env?: NodeJS.ProcessEnv } = {},
): { child: ChildProcess; said: Promise<Record<string, unknown>> } {
  const root = fileURLToPath(new URL('../../../', import.meta.url))
  const script = `
    import { createJiti } from 'jiti'
    const jiti = createJiti(${JSON.stringify(join(root, 'child.mjs'))}, { fsCache: false })
    const { startEmbeddedPostgres } = await jiti.import(${JSON.stringify(fileURLToPath(new URL('./index.ts', import.meta.url)))})
    const say = (value) => process.stdout.write(JSON.stringify(value) + '\\n')
    ${options.before ?? ''}
    try {
      const { url, pid, port, stop } = await startEmbeddedPostgres({ dataDir: ${JSON.stringify(dataDir)} })
      process.stdin.on('data', () => stop().then(() => process.exit(0)))
      say({ url, pid, port })
    } catch (error) {
      say({ error: error.message })
      process.exit(1)
    }`
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], {
    cwd: root,
    stdio: ['pipe', 'pipe', 'inherit'],
    detached: options.detached ?? false,
    env: { ...process.env, ...options.env },
  })
  cleanUp.push(async () => void child.kill('SIGKILL'))
  const said = once(createInterface(child.stdout), 'line').then(
    ([line]) => JSON.parse(String(line)) as Record<string, unknown>,
  )
  return { child, said }
}

async function endedBy(child: ChildProcess, signal: NodeJS.Signals): Promise<void> {
  const exit = once(child, 'exit')
  child.kill(signal)
  await exit
}

let binaries: Binaries
let account: Account | undefined
let startedOnce: string
beforeAll(async () => {
  const uid = process.getuid?.()
  const passwd = await readPasswd()
  account = chooseAccount({ platform: process.platform, uid, dataOwner: undefined, passwd })
  const caches = cacheFolders({ uid, cacheDir: undefined })
  binaries = await placeBinaries({ package: await findPackage(), caches, account })
  startedOnce = await mkdtemp(join(tmpdir(), 'trestle-embedded-'))
  await (await startEmbeddedPostgres({ dataDir: startedOnce })).stop()
})
afterAll(() => rm(startedOnce, { recursive: true, force: true }))

afterEach(async () => {
  for (const undo of cleanUp.splice(0).reverse()) await undo()
})

describe('the embedded PostgreSQL', () => {
  it('keeps data, address and password over stop and start', async () => {
    const kept = async (): Promise<boolean> => {
      const dataDir = await startedFolder()
      const first = await startEmbeddedPostgres({ dataDir })
      await query(first.url, 'create table facts as select 1 as id')
      await first.stop()
      await first.stop()
      expect(await isRunning(first.pid)).toBe(false)
      const asked = await counted(first.url).catch((error: NodeJS.ErrnoException) => error.code)

      const second = await startEmbeddedPostgres({ dataDir })
      expect(await counted(second.url)).toEqual([{ n: 1 }])
      await second.stop()
      return asked === 'ECONNREFUSED' && second.url === first.url
    }
    // While nobody has the port, another program of this machine may take it; not again and again.
    for (let tries = 1; !(await kept()); tries++) expect(tries).toBeLessThan(5)
  })

  it('is durable, speaks UTF-8, sorts by code point, and keeps its password closed', async () => {
    const dataDir = await startedFolder()
    const server = await startEmbeddedPostgres({ dataDir, settings: { work_mem: '5MB' } })
    const settings = await query(
      server.url,
      `select name, setting from pg_settings where name = any('{fsync,full_page_writes,synchronous_commit,
       server_encoding,TimeZone,work_mem,listen_addresses,unix_socket_directories,data_checksums}') order by name collate "C"`,
    )
    expect(
      Object.fromEntries(settings.map((row) => Object.values(row as object) as [string, string])),
    ).toEqual({
      TimeZone: 'UTC',
      data_checksums: 'on',
      fsync: 'on',
      full_page_writes: 'on',
      listen_addresses: '127.0.0.1',
      server_encoding: 'UTF8',
      synchronous_commit: 'on',
      unix_socket_directories: '',
      work_mem: '5120',
    })
    expect(await query(server.url, `select lower('ÄÖ') as low, 'Z' < 'a' as sorted`)).toEqual([
      { low: 'äö', sorted: true },
    ])
    expect((await stat(join(dataDir, 'data', 'trestle.password'))).mode & 0o077).toBe(0)
    await expect(query(server.url.replace(/:[0-9a-f]{48}@/, ':wrong@'), 'select 1')).rejects.toMatchObject({
      code: '28P01',
    })
    await server.stop()
  })

  it('is taken over, with all that was committed, after its process was killed with SIGKILL', async () => {
    const dataDir = await startedFolder()
    const { child, said } = otherProcess(dataDir)
    const { url, pid } = (await said) as { url: string; pid: number }
    await query(url, 'create table facts as select 1 as id')
    await endedBy(child, 'SIGKILL')
    expect(await isRunning(pid)).toBe(true)

    const notices: string[] = []
    const next = await startEmbeddedPostgres({ dataDir, onNotice: (line) => notices.push(line) })
    expect([next.pid, next.url]).toEqual([pid, url])
    expect(notices.join()).toContain('already runs')
    expect(await counted(next.url)).toEqual([{ n: 1 }])
    await next.stop()
    expect(await isRunning(pid)).toBe(false)
  })

  it('comes back after SIGKILL of the server, by request and by watch; without them it stays down', async () => {
    const dataDir = await startedFolder()
    const server = await startEmbeddedPostgres({ dataDir })
    await query(server.url, 'create table facts as select 1 as id')
    expect(await server.restartIfGone()).toBe(false)

    const first = server.pid
    await kill(first)
    expect(await server.restartIfGone()).toBe(true)
    expect(server.pid).not.toBe(first)
    await query(server.url, 'insert into facts values (2)')

    const told: string[] = []
    const up = new Promise<void>((resolve) => {
      server.watch({
        everyMs: 50,
        onDown: () => told.push('down'),
        onUp: () => {
          told.push('up')
          resolve()
        },
      })
    })
    await kill(server.pid)
    await up
    expect(told).toEqual(['down', 'up'])
    expect(await counted(server.url)).toEqual([{ n: 2 }])
    await server.stop()

    const unwatched = await startEmbeddedPostgres({ dataDir })
    await kill(unwatched.pid)
    await expect(counted(unwatched.url)).rejects.toMatchObject({
      code: expect.stringMatching(/^ECONN(REFUSED|RESET)$/),
    })
    await unwatched.stop()
  })

  it.runIf(process.platform === 'linux')(
    'comes back although a process of the killed server never noticed that it is over',
    async () => {
      const notices: string[] = []
      const server = await startEmbeddedPostgres({
        dataDir: await startedFolder(),
        onNotice: (line) => notices.push(line),
      })
      await query(server.url, 'create table facts as select 1 as id')
      const connected = new Client({ connectionString: server.url })
      connected.on('error', () => {})
      await connected.connect()
      const { rows } = await connected.query<{ pid: number }>('select pg_backend_pid() as pid')
      // Like one that waits for a lock of a process that was killed with the postmaster.
      process.kill(rows[0]!.pid, 'SIGSTOP')
      await kill(server.pid)

      expect(await server.restartIfGone()).toBe(true)
      expect(notices.some((line) => line.startsWith(`Ending process ${rows[0]!.pid},`))).toBe(true)
      expect(await counted(server.url)).toEqual([{ n: 1 }])
      await server.stop()
    },
  )

  it('is one for several that start it at once, and runs until the last of them stops it', async () => {
    const dataDir = await closedFolder()
    const others = [otherProcess(dataDir), otherProcess(dataDir)]
    const mine = await startEmbeddedPostgres({ dataDir })
    for (const { said } of others) expect(await said).toMatchObject({ pid: mine.pid, url: mine.url })

    await mine.stop()
    expect(await query(mine.url, 'select 1 as one')).toEqual([{ one: 1 }])
    const [stopped, killed] = others
    await endedBy(killed!.child, 'SIGKILL')
    const exit = once(stopped!.child, 'exit')
    stopped!.child.stdin!.write('stop\n')
    await exit
    expect(await isRunning(mine.pid)).toBe(false)
  })

  it('outlives Ctrl-C in the terminal of the process that started it', async () => {
    const dataDir = await startedFolder()
    const { child, said } = otherProcess(dataDir, { detached: true })
    const { url } = (await said) as { url: string }
    const exit = once(child, 'exit')
    process.kill(-child.pid!, 'SIGINT')
    expect((await exit)[1]).toBe('SIGINT')
    expect(await query(url, 'select 1 as one')).toEqual([{ one: 1 }])
    expect(await stopEmbeddedPostgres(dataDir)).toBe(true)
    expect(await stopEmbeddedPostgres(dataDir)).toBe(false)
  })

  it('starts although its old pid was given to another process; PostgreSQL alone refuses to', async () => {
    const dataDir = await startedFolder()
    const first = await startEmbeddedPostgres({ dataDir })
    const pidfile = join(dataDir, 'data', 'postmaster.pid')
    const written = await readFile(pidfile, 'utf8')
    await first.stop()
    const stranger = spawn('sleep', ['1000'], { stdio: 'ignore', ...account })
    cleanUp.push(async () => void stranger.kill())
    await writeFile(pidfile, written.replace(/^\d+/, String(stranger.pid)))
    if (account) await chown(pidfile, account.uid, account.gid)

    const cwd = join(dataDir, 'data')
    const at = account ? '/proc/self/cwd' : cwd
    const log = join(dataDir, 'alone.log')
    const args = ['start', '-w', '-D', at, '-o', '-p 19999']
    expect(await runToLog({ program: 'pg_ctl', args, binaries, account, cwd }, log)).not.toBe(0)
    expect(await readFile(log, 'utf8')).toContain('lock file "postmaster.pid" already exists')

    const second = await startEmbeddedPostgres({ dataDir })
    expect(await query(second.url, 'select 1 as one')).toEqual([{ one: 1 }])
    await second.stop()
    await writeFile(pidfile, '')
    if (account) await chown(pidfile, account.uid, account.gid)
    await (await startEmbeddedPostgres({ dataDir })).stop()
    expect(isProcessAlive(stranger.pid!)).toBe(true)
  })

  it('of a folder that was copied is another server, even if the first one runs', async () => {
    const dataDir = await startedFolder()
    const first = await startEmbeddedPostgres({ dataDir })
    await query(first.url, 'create table facts as select 1 as id')
    await query(first.url, 'checkpoint')
    const copyDir = await closedFolder()
    await copyOfRunning(dataDir, copyDir)
    const copy = await startEmbeddedPostgres({ dataDir: copyDir })
    expect([copy.pid, copy.port]).not.toEqual([first.pid, first.port])
    await query(copy.url, 'insert into facts values (2)')
    expect(await counted(first.url)).toEqual([{ n: 1 }])
    await copy.stop()
    await first.stop()
  })

  it('takes another port where its own is in use, and never swaps one that was asked for', async () => {
    let dataDir: string
    let first: EmbeddedPostgres
    let squatter: Server
    do {
      dataDir = await startedFolder()
      first = await startEmbeddedPostgres({ dataDir })
      await first.stop()
      squatter = createServer().listen(first.port, '127.0.0.1')
      // Refused where another program was faster.
      await once(squatter, 'listening').catch(() => undefined)
    } while (!squatter.listening)
    cleanUp.push(async () => void squatter.close())
    const second = await startEmbeddedPostgres({ dataDir })
    expect(second.port).not.toBe(first.port)
    const elsewhere = (squatter.address() as AddressInfo).port
    await expect(startEmbeddedPostgres({ dataDir, port: elsewhere })).rejects.toThrow(
      new RegExp(`already runs on port ${second.port}, not ${elsewhere}`),
    )
    await second.stop()
    await expect(startEmbeddedPostgres({ dataDir, port: elsewhere })).rejects.toThrow(
      new RegExp(`Port ${elsewhere} is in use by another program[^]*could not bind`),
    )
    await expect(startEmbeddedPostgres({ dataDir, port: 70_000 })).rejects.toThrow(/1 to 65535/)
  })

  it('says what PostgreSQL says when it cannot start, and starts again once that is mended', async () => {
    const dataDir = await startedFolder()
    await expect(startEmbeddedPostgres({ dataDir, settings: { work_memory: '1MB' } })).rejects.toThrow(
      /did not start[^]*unrecognized configuration parameter "work_memory"/,
    )
    await (await startEmbeddedPostgres({ dataDir })).stop()
    await writeFile(join(dataDir, 'data', 'PG_VERSION'), '17\n')
    await expect(startEmbeddedPostgres({ dataDir })).rejects.toThrow(/made by PostgreSQL 17[^]*pg_dump/)
  })

  it('says so when its password was lost', async () => {
    const dataDir = await startedFolder()
    await (await startEmbeddedPostgres({ dataDir })).stop()
    await rm(join(dataDir, 'data', 'trestle.password'))
    await expect(startEmbeddedPostgres({ dataDir })).rejects.toThrow(/holds the password/)
  })
})

describe.skipIf(!isRoot)('the embedded PostgreSQL, for root (skipped: the tests do not run as root)', () => {
  it('runs under a folder that its user cannot walk into; by that path it could not', async () => {
    const dataDir = await startedFolder()
    const server: EmbeddedPostgres = await startEmbeddedPostgres({ dataDir })
    const status = await readFile(`/proc/${server.pid}/status`, 'utf8')
    expect(Number(/^Uid:\t(\d+)/m.exec(status)?.[1])).toBe(account!.uid)
    const data = join(dataDir, 'data')
    const ask = (path: string): ReturnType<typeof runForOutput> =>
      runForOutput({
        program: 'postgres',
        args: ['-C', 'data_directory', '-D', path],
        binaries,
        account,
        cwd: data,
      })
    expect((await ask('/proc/self/cwd')).code).toBe(0)
    expect(await ask(data)).toMatchObject({ code: 2, output: expect.stringContaining('Permission denied') })
    await server.stop()
  })

  it('works for an ordinary user, whose data root may use and give back', async () => {
    const nobody = { uid: 65534, gid: 65534 }
    const home = await mkdtemp(join(tmpdir(), 'trestle-nobody-'))
    cleanUp.push(() => rm(home, { recursive: true, force: true }))
    await chown(home, nobody.uid, nobody.gid)
    const dataDir = join(home, 'shop', '.trestle', 'postgres')
    const env = { HOME: home, XDG_CACHE_HOME: '', NODE_PATH: await packageFor(home) }
    const asNobody = (): ReturnType<typeof otherProcess> =>
      otherProcess(dataDir, {
        before: 'process.setgroups([]); process.setgid(65534); process.setuid(65534)',
        env,
      })
    const stopped = async ({ child, said }: ReturnType<typeof otherProcess>): Promise<unknown> => {
      const answer = await said
      const exit = once(child, 'exit')
      child.stdin!.write('stop\n')
      await exit
      return answer
    }

    const first = (await stopped(asNobody())) as { url: string; pid: number }
    expect(first).toMatchObject({ url: expect.any(String) })
    await access(join(home, '.cache', 'trestle'))
    expect(await stopped(asNobody())).toMatchObject({ url: first.url })

    const asRoot = await startEmbeddedPostgres({ dataDir })
    expect(asRoot.url).toBe(first.url)
    const status = await readFile(`/proc/${asRoot.pid}/status`, 'utf8')
    expect(Number(/^Uid:\t(\d+)/m.exec(status)?.[1])).toBe(nobody.uid)
    await asRoot.stop()
    expect(await stopped(asNobody())).toMatchObject({ url: first.url })
  })

  it("tells an ordinary user that the data is another user's", async () => {
    const home = await mkdtemp(join(tmpdir(), 'trestle-nobody-'))
    cleanUp.push(() => rm(home, { recursive: true, force: true }))
    await chown(home, 65534, 65534)
    const dataDir = join(home, 'postgres')
    await cp(startedOnce, dataDir, { recursive: true })
    const { said } = otherProcess(dataDir, {
      before: 'process.setgroups([]); process.setgid(65534); process.setuid(65534)',
      env: { HOME: home, XDG_CACHE_HOME: '' },
    })
    expect((await said)['error']).toMatch(/cannot be used.*permission denied.*Give it to the user/)
  })
})

/** A NODE_PATH where an ordinary user finds the package even if this clone lies under a closed home. */
async function packageFor(home: string): Promise<string> {
  const source = await findPackage()
  const test = spawn('test', ['-r', source.native], { uid: 65534, gid: 65534 })
  const [code] = (await once(test, 'exit')) as [number]
  if (code === 0) return ''
  const copy = join(home, 'modules', source.name)
  await mkdir(copy, { recursive: true })
  await cp(join(source.native, '..'), copy, { recursive: true, verbatimSymlinks: true })
  return join(home, 'modules')
}
