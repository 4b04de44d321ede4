/** `trestle vault rotate` as an operator uses it: real processes, with nodes that serve beside it. */
import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Client } from 'pg'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { systemRandom } from '../../src/base/index.ts'
import { masterKeyOf } from '../../src/vault/masterKey.ts'
import { seal } from '../../src/vault/seal.ts'
import { compilePackage, createCli, type Cli, type Ended, type Running } from '../cli/support.ts'
import { createTestDatabase, type TestDatabase } from '../support/database.ts'

const newKey = (): string => systemRandom.bytes(32).toString('base64')
const nameOf = (key: string): string => masterKeyOf(key, 'key', systemRandom).wrapper.id
const [OLD, NEW] = [newKey(), newKey()]
/** Values that are held, so that the rotation is in the middle for as long as a test wants. */
const HELD = 60

let database: TestDatabase
let client: Client
let cli: Cli
let folder: string
beforeAll(async () => {
  database = await createTestDatabase()
  client = new Client({ connectionString: database.url })
  await client.connect()
  cli = createCli(await compilePackage('rotate'), { DATABASE_URL: database.url })
  folder = await cli.createProject()
  await (await serving(OLD)).stop()
  await fill()
})
afterAll(async () => {
  await cli.end()
  await client.end()
  await database.drop()
})

type Keys = readonly [present?: string, previous?: string]
const environment = ([present, previous]: Keys) => ({
  env: { TRESTLE_MASTER_KEY: present, TRESTLE_MASTER_KEY_PREVIOUS: previous },
})
const run = (args: readonly string[], ...keys: Keys): Promise<Ended> =>
  cli.run(folder, args, environment(keys))

/** A node that serves, from when it is ready. */
async function serving(...keys: Keys): Promise<{ readonly pid: number; stop(): Promise<void> }> {
  const node = cli.start(folder, ['serve', '--port', '0', '--json'], environment(keys))
  await node.says(/"as":"ready"/)
  return {
    pid: node.pid,
    async stop() {
      node.signal('SIGTERM')
      expect(await node.ended).toBe(0)
    },
  }
}

/** More sealed values, of connections that nobody uses. */
async function fill(): Promise<void> {
  const { wrapper } = masterKeyOf(OLD, 'key', systemRandom)
  for (let n = 0; n < HELD; n++) {
    const place = { tenant: 'default', record: `con_${n}`, field: 'token' }
    await client.query(
      `insert into connections (tenant, id, name, connector, base_url) values ('default', $1, $1, 'gone', 'https://gone.example')`,
      [place.record],
    )
    await client.query(
      `insert into secrets (tenant, connection_id, field, sealed, fingerprint) values ('default', $1, 'token', $2, '')`,
      [place.record, await seal(wrapper, place, Buffer.from(`sk_${n}`), systemRandom)],
    )
  }
}

/** Every row of every table that is ours, as text. */
async function everything(): Promise<Record<string, unknown>> {
  const tables = await client.query<{ name: string }>(
    `select relname as name from pg_class where relnamespace = 'public'::regnamespace and relkind in ('r', 'p') and not relispartition order by 1`,
  )
  const all: Record<string, unknown> = {}
  for (const { name } of tables.rows)
    all[name] = (await client.query(`select t::text from "${name}" t order by 1`)).rows
  return all
}

/** Each value is held by a savepoint of its own: rolled back, it lets go of the value. */
async function holdAll(): Promise<() => Promise<void>> {
  await client.query('begin')
  for (let n = 0; n < HELD; n++) {
    await client.query(`savepoint held_${n}`)
    await client.query(`select 1 from secrets where connection_id = 'con_${n}' for update`)
  }
  let left = HELD
  return async () => {
    if (--left < 0) throw new Error('All values are free, and what was waited for did not come.')
    await client.query(`rollback to savepoint held_${left}`)
  }
}

async function rotated(): Promise<number> {
  const { rows } = await client.query<{ count: number }>(
    'select coalesce(sum(sealed_anew), 0)::int as count from master_key_rotations',
  )
  return rows[0]!.count
}

/** Lets go of one value after the other until it has said this. */
async function letGoUntilSaid(node: Running, letGo: () => Promise<void>, pattern: RegExp): Promise<void> {
  let before = await rotated()
  while (!pattern.test(node.said)) {
    await letGo()
    for (let now = before; now === before;) now = await rotated()
    before = await rotated()
  }
}

interface Report {
  readonly findings: readonly {
    readonly level: string
    readonly what: string
    readonly found: string
    readonly todo?: string
  }[]
}
async function doctorOfSecrets(...keys: Keys): Promise<unknown> {
  const { stdout } = await run(['doctor', '--json'], ...keys)
  return (JSON.parse(stdout) as Report).findings.find(({ what }) => what === 'Secrets')
}

it('refuses keys that do not fit, says what to do, and touches nothing', async () => {
  const before = await everything()
  const other = newKey()
  const cases: readonly [code: string, words: RegExp, ...keys: Keys][] = [
    [
      'previous_key_missing',
      /no former master key.*openssl rand -base64 32.*TRESTLE_MASTER_KEY_PREVIOUS/,
      OLD,
    ],
    ['master_key_missing', /TRESTLE_MASTER_KEY is not set/, undefined, OLD],
    ['master_key_invalid', /TRESTLE_MASTER_KEY is not a master key/, NEW.slice(4), OLD],
    ['master_key_invalid', /TRESTLE_MASTER_KEY_PREVIOUS is not a master key/, NEW, 'old'],
    ['master_keys_same', /are the same key/, OLD, OLD],
    ['previous_key_wrong', new RegExp(`sealed under "${nameOf(OLD)}".*Nothing was changed`), NEW, other],
    ['previous_key_wrong', /ever sealed under the former master key.*taken for each other/, OLD, NEW],
  ]
  for (const [code, words, ...keys] of cases) {
    const { stdout, stderr, code: exit } = await run(['vault', 'rotate', '--json'], ...keys)
    expect([exit, (JSON.parse(stdout) as { error: unknown }).error]).toEqual([
      2,
      { code, message: expect.stringMatching(words) as string },
    ])
    expect(stderr).toMatch(words)
    expect(keys.filter((key) => key !== undefined && (stdout + stderr).includes(key))).toEqual([])
  }
  expect(await everything()).toEqual(before)
})

it('a node whose keys were taken for each other does not start: it would seal what no other opens', async () => {
  const before = await everything()
  const { code, stderr } = await run(['serve', '--port', '0'], OLD, NEW)
  expect(code).toBe(1)
  expect(stderr).toMatch(/taken for each other/)
  expect(await everything()).toEqual(before)
})

it('is refused while a node runs that does not know the new key, which goes on serving', async () => {
  const node = await serving(OLD)
  const { code, stderr } = await run(['vault', 'rotate'], NEW, OLD)
  expect(code).toBe(1)
  expect(stderr).toMatch(new RegExp(`do not know the new master key.*pid ${node.pid}\\. Nothing was changed`))
  expect((await run(['vault'], NEW, OLD)).stdout).toMatch(
    new RegExp(`pid ${node.pid}: the master key "${nameOf(OLD)}"\\.`),
  )
  await node.stop()
  expect(await rotated()).toBe(0)
  expect(await doctorOfSecrets(NEW, OLD)).toMatchObject({
    level: 'warn',
    found: expect.stringContaining('prepared and not begun') as string,
  })
})

it('is stopped by Ctrl-C, goes on, and then the former key can go', async () => {
  const node = await serving(NEW, OLD)
  const letGo = await holdAll()

  const first = cli.start(folder, ['vault', 'rotate'], {
    env: {
      ...environment([NEW, OLD]).env,
      // As on a terminal, where progress is drawn.
      NODE_OPTIONS: '--import=data:text/javascript,process.stderr.isTTY=true',
    },
  })
  await letGoUntilSaid(first, letGo, /Sealing anew █*░+ \d+ % [\d]+ of \d\d/)
  first.signal('SIGINT')
  expect(await first.ended).toBe(130)
  expect(first.said).toMatch(/was stopped when \d+ of \d+ values were sealed anew.*trestle vault rotate/)
  expect((await run(['vault'], NEW, OLD)).stdout).toMatch(/not finished, \d+ values so far; nobody is at it/)
  expect(await doctorOfSecrets(NEW, OLD)).toMatchObject({
    level: 'warn',
    found: expect.stringMatching(
      /is not finished: \d+ are sealed under the former one still, and nobody/,
    ) as string,
    todo: expect.stringContaining('trestle vault rotate') as string,
  })
  const alone = await run(['serve', '--port', '0'], NEW)
  expect(alone).toMatchObject({
    code: 1,
    stderr: expect.stringContaining('TRESTLE_MASTER_KEY_PREVIOUS') as string,
  })

  await client.query('rollback')
  const so_far = await rotated()
  const second = await withKeyFiles(() => run(['vault', 'rotate', '--json']))
  expect(second).toMatchObject({ code: 0, stderr: '' })
  const answer = JSON.parse(second.stdout) as { sealedAnew: number; sealed: number }
  expect(answer).toEqual({
    from: nameOf(OLD),
    to: nameOf(NEW),
    resumed: true,
    sealedAnew: answer.sealed - so_far,
    sealed: expect.any(Number) as number,
    seconds: expect.any(Number) as number,
  })
  expect(answer.sealed).toBeGreaterThan(HELD)
  expect(await doctorOfSecrets(NEW, OLD)).toMatchObject({
    level: 'warn',
    todo: expect.stringMatching(/^Take .*away/) as string,
  })
  expect(await run(['vault', 'rotate'], NEW, OLD)).toMatchObject({
    code: 0,
    stdout: expect.stringMatching(
      /^Everything is sealed under .* already: \d+ values\.\n.*take TRESTLE_MASTER_KEY_PREVIOUS/,
    ) as string,
  })
  await node.stop()

  await (await serving(NEW)).stop()
  expect(await doctorOfSecrets(NEW)).toMatchObject({ level: 'ok' })

  const before = await everything()
  const former = await run(['serve', '--port', '0'], OLD)
  expect(former.code).toBe(1)
  expect(former.stderr).toMatch(/sealed under another master key.*Nothing was changed.*TRESTLE_MASTER_KEY/)
  expect(await doctorOfSecrets(OLD)).toMatchObject({ level: 'fail', found: 'they do not open' })
  expect(await everything()).toEqual(before)
})

/** The keys in files instead of the environment. */
async function withKeyFiles(work: () => Promise<Ended>): Promise<Ended> {
  const at = join(folder, '.trestle')
  mkdirSync(at, { recursive: true, mode: 0o700 })
  const [present, previous] = [join(at, 'master.key'), join(at, 'master.previous.key')]
  writeFileSync(present, NEW, { mode: 0o600 })
  writeFileSync(previous, OLD, { mode: 0o600 })
  try {
    return await work()
  } finally {
    rmSync(present)
    rmSync(previous)
  }
}
