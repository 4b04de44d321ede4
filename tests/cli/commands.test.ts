/** The commands as people and programs use them, on a real database; a server in another process does the work. */
import { appendFileSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createBusinessAppTwin, type BusinessAppTwin } from '../../connectors/business-app/twin.ts'
import { createTestDatabase, type TestDatabase } from '../support/database.ts'
import { compilePackage, createCli, type Cli, type Running } from './support.ts'

const KEY = Buffer.alloc(32, 'a key of the tests').toString('base64')
const DATA = '@events/appointment-completed.json'

let database: TestDatabase
let cli: Cli
let folder: string
let server: Running
let url: string
let app: BusinessAppTwin

interface Emitted {
  readonly state: string
  readonly event: {
    readonly id: string
    readonly state: string
    readonly quarantine: string | null
    readonly runs: { readonly id: string }[]
  } | null
}

beforeAll(async () => {
  app = createBusinessAppTwin()
  const appUrl = await app.start()
  database = await createTestDatabase()
  cli = createCli(await compilePackage('commands'), { DATABASE_URL: database.url, TRESTLE_MASTER_KEY: KEY })
  folder = await cli.createProject()
  writeFileSync(join(folder, 'flows/more.ts'), FLOWS)
  edit('trestle.config.ts', (text) =>
    text
      .replace('http://127.0.0.1:4000', appUrl)
      .replace(
        'import { firstFlow }',
        "import { failing, telling } from './flows/more.ts'\nimport { firstFlow }",
      )
      .replace('[firstFlow]', '[firstFlow, failing, telling]'),
  )
  edit('flows/first-flow.ts', (text) => text.replace("'5 seconds'", "'1 second'"))
  edit('.env', (text) => text.replace(/(?<=APP_SIGNING_SECRET=).*/, app.signingSecret))
  server = cli.start(folder, ['serve', '--port', '0', '--json'])
  const ready = JSON.parse(await server.says(/^\{.*"as":"ready".*\}$/m)) as { url: string }
  url = ready.url
})

afterAll(async () => {
  await cli.end()
  await app.stop()
  await database.drop()
})

const FLOWS = `import { defineFlow, PermanentError } from 'trestle'
import { businessApp } from 'trestle/connectors/business-app'

export const failing = defineFlow({
  name: 'failing',
  on: businessApp.on('appointment.no_show'),
  async run({ event, step }) {
    await step('look', () => {
      throw new PermanentError('nobody_there', \`Nobody can handle \${event.data.id}.\`)
    })
  },
})

export const telling = defineFlow({
  name: 'telling',
  on: businessApp.on('appointment.booked'),
  async run({ use, event }) {
    await use(businessApp).events.send({ type: 'visit.planned', data: { id: event.data.id } })
  },
})
`

function edit(path: string, change: (text: string) => string): void {
  writeFileSync(join(folder, path), change(readFileSync(join(folder, path), 'utf8')))
}

const run = (...args: string[]) => cli.run(folder, args)
const json = <Answer>(...args: string[]): Promise<Answer> => cli.json<Answer>(folder, args)

async function emit(type: string, ...more: string[]): Promise<NonNullable<Emitted['event']>> {
  const { event } = await json<Emitted>('emit', type, '--data', DATA, ...more)
  return event!
}

/** Asks until the run is in this state. */
async function reached(run: string, state: string): Promise<void> {
  for (;;) {
    const shown = await json<{ state: string }>('runs', 'show', run)
    if (shown.state === state) return
  }
}

async function runOf(type: string, state: string): Promise<string> {
  const { runs } = await emit(type)
  await reached(runs[0]!.id, state)
  return runs[0]!.id
}

describe('an event that is emitted', () => {
  it('runs its flow; the run reads as a story', async () => {
    const id = await runOf('appointment.completed', 'succeeded')
    const { stdout } = await run('runs', 'show', id)
    expect(stdout).toContain('first-flow')
    expect(stdout).toMatch(/It succeeded .* after its event\./)
    expect(stdout).toMatch(/✓ write thanks[\s\S]*✓ sleep[\s\S]*✓ say thanks/)
    expect(stdout).toContain('"thanked": "ada@example.com"')
    expect((await run('runs')).stdout).toContain(id)
  })

  it('comes once by its source and id', async () => {
    await emit('appointment.completed', '--id', 'once')
    const again = await run('emit', 'appointment.completed', '--data', DATA, '--id', 'once')
    expect(again.stdout).toMatch(/came before .* nothing was done/)
    const elsewhere = await json<Emitted>(
      'emit',
      'appointment.completed',
      '--data',
      DATA,
      '--id',
      'once',
      '--source',
      'urn:b',
    )
    expect(elsewhere.state).toBe('accepted')
  })

  it('is kept where no flow starts on it, and found again', async () => {
    const event = await emit('appointment.cancelled')
    expect(event.state).toBe('unmatched')
    expect((await run('events', '--state', 'unmatched')).stdout).toContain(event.id)
    const shown = await run('events', 'show', event.id)
    expect(shown.stdout).toContain('"email": "ada@example.com"')
  })

  it('that does not fit its contract is quarantined; it cannot be released, but discarded', async () => {
    const { event } = await json<Emitted>('emit', 'appointment.completed', '--data', '{"id":"x"}')
    const id = event!.quarantine!
    expect((await run('quarantine')).stdout).toContain('/data/customer')
    expect((await run('quarantine', 'show', id)).stdout).toContain('"id": "x"')
    const released = await run('quarantine', 'release', id)
    expect([released.code, released.stderr]).toEqual([1, expect.stringContaining('still cannot pass')])
    expect((await run('quarantine', 'discard', id)).code).toBe(0)
    expect((await run('quarantine', 'discard', id)).code).toBe(1)
  })

  it('reads its data from stdin, and says what is wrong with data that is no JSON', async () => {
    const piped = await cli.run(folder, ['emit', 'appointment.cancelled', '--data', '-'], {
      input: readFileSync(join(folder, 'events/appointment-completed.json'), 'utf8'),
    })
    expect(piped.code).toBe(0)
    expect(await run('emit', 'a', '--data', '{x}')).toMatchObject({
      code: 2,
      stderr: expect.stringMatching(/no JSON.*--data @FILE/),
    })
    expect(await run('emit', 'a', '--data', '@nope')).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('ENOENT'),
    })
  })
})

describe('a run that gave up', () => {
  it('is among the dead letters, goes on by retry, and is cancelled', async () => {
    const id = await runOf('appointment.no_show', 'dead_lettered')
    expect((await run('dead-letters')).stdout).toContain('Nobody can handle apt_1')
    expect((await run('runs', 'show', id)).stdout).toMatch(/✗ look[\s\S]*nobody_there/)
    expect((await run('runs', 'retry', id)).stdout).toContain('goes on')
    await reached(id, 'dead_lettered')
    expect((await run('cancel', id)).code).toBe(0)
    await reached(id, 'cancelled')
    const { items } = await json<{ items: { action: string; actor: string }[] }>(
      'ledger',
      '--run',
      id,
      '-n',
      '50',
    )
    const actions = items.map((entry) => entry.action)
    expect(actions).toEqual(expect.arrayContaining(['run.retried', 'run.cancelled', 'run.dead_lettered']))
    expect(items.find((entry) => entry.action === 'run.retried')?.actor).toMatch(/^operator:./)
  })

  it('and one that did not is refused a retry, with what would fit', async () => {
    const id = await runOf('appointment.completed', 'succeeded')
    const { code, stderr } = await run('runs', 'retry', id)
    expect([code, stderr]).toEqual([1, expect.stringContaining('replay it')])
  })
})

describe('a replay', () => {
  it('names the effects that it repeats and does nothing without consent', async () => {
    const id = await runOf('appointment.booked', 'succeeded')
    const before = app.state.events.length
    const refused = await run('replay', id)
    expect([refused.code, refused.stderr]).toEqual([
      1,
      expect.stringMatching(/visit\.planned[\s\S]*--repeat-effects/),
    ])
    const { runs } = await json<{ runs: string[] }>('replay', id, '--repeat-effects')
    await reached(runs[0]!, 'succeeded')
    expect(app.state.events.length).toBe(before + 1)
    expect((await run('runs', 'show', id)).stdout).toContain(runs[0])
  })

  it('of an event takes the flows of today', async () => {
    const event = await emit('appointment.cancelled')
    expect(await run('replay', event.id)).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('No flow'),
    })
  })
})

describe('budgets', () => {
  it('say what is used of each limit', async () => {
    const { stdout, code } = await run('budgets', '--all')
    expect(code).toBe(0)
    expect(stdout).toMatch(/CONNECTION +LIMIT +USED +LEFT/)
    expect(stdout).toMatch(/app +\S+ +\d+ of \d+ in /)
    const { items } = await json<{ items: { connection: string }[] }>('budgets')
    expect(items.every(({ connection }) => connection === 'app')).toBe(true)
    expect(await run('budgets', '--connection', 'nobody')).toMatchObject({ code: 3 })
  })
})

describe('connections', () => {
  it('are listed with their secrets by name, never by value', async () => {
    const { stdout } = await run('connections')
    expect(stdout).toMatch(/app +The business's own app +active +signingSecret/)
    expect((await run('connections', '--json')).stdout).not.toContain(app.signingSecret)
  })

  it('are tested and verified by reads', async () => {
    expect(await run('connections', 'test', 'app')).toMatchObject({
      code: 0,
      stdout: expect.stringContaining('works'),
    })
    const verified = await json<{
      ok: boolean
      live: boolean
      reads: { operation: string; outcome: string }[]
    }>('connections', 'verify', 'app')
    expect(verified).toMatchObject({
      ok: true,
      live: false,
      reads: [{ operation: 'ping', outcome: 'succeeded' }],
    })
  })

  it('are added with a secret from stdin or a file, and removed', async () => {
    const add = [
      'connections',
      'add',
      'second',
      '--connector',
      'business-app',
      '--allow-private-network',
      '--base-url',
    ]
    const wrong = `whsec_${Buffer.alloc(32, 1).toString('base64')}`
    const added = await cli.run(folder, [...add, app.url, '--secret', 'signingSecret=stdin'], {
      input: `${wrong}\n`,
    })
    expect(added).toMatchObject({ code: 0, stdout: expect.stringContaining('was added') })
    expect(await run('connections', 'test', 'second')).toMatchObject({
      code: 1,
      stdout: expect.stringContaining('401'),
    })
    const file = join(folder, '.secret')
    writeFileSync(file, `${app.signingSecret}\n`)
    expect(
      (
        await run(
          'connections',
          'add',
          'second',
          '--connector',
          'business-app',
          '--secret-file',
          `signingSecret=${file}`,
          '--base-url',
          app.url,
          '--allow-private-network',
        )
      ).code,
    ).toBe(0)
    expect((await run('connections', 'test', 'second')).code).toBe(0)
    expect((await run('connections', 'remove', 'second')).code).toBe(0)
    expect((await run('connections', 'remove', 'second')).code).toBe(3)
    expect(await run('connections', 'remove', 'app')).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('declared'),
    })
  })

  it('refuse a secret on the command line, and an unknown connector', async () => {
    const refused = await run('connections', 'add', 'app', '--secret', 'signingSecret=whsec_secret')
    expect([refused.code, refused.stderr]).toEqual([2, expect.stringMatching(/every user of this machine/)])
    expect(refused.stderr).not.toContain('whsec_secret')
    expect(await run('connections', 'add', 'pay', '--connector', 'stripe')).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('stripe.connect({})'),
    })
  })
})

describe('a token', () => {
  it('opens the API until it is revoked, and its secret is shown once', async () => {
    const made = await json<{ id: string; token: string }>('tokens', 'create', 'a test')
    const ask = (): Promise<number> =>
      fetch(`${url}/api/v1/runs`, { headers: { authorization: `Bearer ${made.token}` } }).then(
        (answer) => answer.status,
      )
    expect(await ask()).toBe(200)
    const { stdout } = await run('tokens')
    expect(stdout).toContain(made.id)
    expect(stdout).not.toContain(made.token)
    expect((await run('tokens', 'revoke', made.id)).code).toBe(0)
    expect((await run('tokens', 'revoke', made.id)).code).toBe(3)
    expect((await run('tokens')).stdout).toMatch(/a test.*revoked/)
  })

  it('may no more than it was given, and is rotated with an overlap', async () => {
    const wish = 'tokens create --name ci --role operator --scope runs:retry --scope runs:read --expires 30d'
    const made = await json<{ id: string; token: string; scopes: string[] }>(...wish.split(' '))
    expect(made.scopes).toEqual(['runs:read', 'runs:retry'])
    const ask = (path: string, token = made.token): Promise<number> =>
      fetch(`${url}/api/v1${path}`, { headers: { authorization: `Bearer ${token}` } }).then(
        (answer) => answer.status,
      )
    expect([await ask('/runs'), await ask('/events')]).toEqual([200, 403])
    expect((await run('tokens')).stdout).toMatch(/ci +trs_\w{6}… +operator: runs:read runs:retry/)
    const rotated = await json<{ made: { token: string } }>('tokens', 'rotate', made.id, '--overlap', '1h')
    expect([await ask('/runs'), await ask('/runs', rotated.made.token)]).toEqual([200, 200])
    expect((await run('tokens')).stdout).toMatch(/ci .*in force, rotated: tok_/)
    expect((await run('tokens', 'create', 'x', '--role', 'owner')).stderr).toContain('viewer, operator')
    expect((await run('tokens', 'create', 'x', '--scope', 'runs:fly')).stderr).toContain('runs:retry')
    expect((await run('tokens', 'create', 'x', '--expires', 'soon')).code).toBe(2)
    expect((await run('tokens', 'create')).stderr).toContain('Say what the token is for')
    const foreign = await json<{ id: string }>('tokens', 'create', 'x', '--tenant', 'other')
    expect((await run('tokens')).stdout).not.toContain(foreign.id)
    expect((await run('tokens', '--tenant', 'other')).stdout).toContain(foreign.id)
  })

  it('alone is printed for scripts', async () => {
    expect((await run('tokens', 'create', 'script', '--quiet')).stdout).toMatch(/^trs_[0-9A-Za-z]{49}\n$/)
  })
})

describe('the audit', () => {
  it('holds for the database and for a copy of it, and does not for a copy that was changed', async () => {
    const copy = join(folder, 'ledger.jsonl')
    expect((await run('audit', 'export', copy)).code).toBe(0)
    expect(await run('audit', 'export', copy)).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('there already'),
    })
    const key = ['--public-key', await publicKey()]
    expect(await run('audit', 'verify', '--from', copy, ...key)).toMatchObject({
      code: 0,
      stdout: expect.stringContaining('holds together'),
    })
    expect((await run('audit', ...key)).code).toBe(0)
    const changed = join(folder, 'changed.jsonl')
    writeFileSync(
      changed,
      readFileSync(copy, 'utf8').replace('"outcome":"succeeded"', '"outcome":"Succeeded"'),
    )
    const report = await run('audit', 'verify', '--from', changed, ...key)
    expect(report).toMatchObject({ code: 1, stdout: expect.stringContaining('does not hold together') })
  })

  it('says what it needs to prove anything', async () => {
    const wrong = await run('audit', 'verify', '--public-key', 'abc')
    expect(wrong).toMatchObject({ code: 2, stderr: expect.stringContaining('64 hexadecimal digits') })
    writeFileSync(join(folder, 'no-copy'), 'nonsense\n')
    expect(await run('audit', 'verify', '--from', 'no-copy', '--public-key', '00'.repeat(32))).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('audit export'),
    })
  })
})

/** As an auditor keeps it: from the installation, at a time when it was trusted. */
async function publicKey(): Promise<string> {
  const { Client } = await import('pg')
  const client = new Client({ connectionString: database.url })
  await client.connect()
  const { rows } = await client.query<{ value: Buffer }>(
    `select value from installation where name = 'ledger.public_key'`,
  )
  await client.end()
  return rows[0]!.value.toString('hex')
}

describe('the doctor', () => {
  it('finds that this database may lose what it commits, and that a server works', async () => {
    const { code, stdout } = await run('doctor')
    // The tests' server runs without fsync.
    expect(code).toBe(1)
    expect(stdout).toMatch(/fail +Durability +fsync .* off/)
    expect(stdout).toMatch(/ok +Workers +\S+ pid \d+/)
    expect(stdout).toMatch(/ok +Secrets/)
    expect(stdout).toMatch(/ok +Connection app/)
  })

  it('finds a mistake in the configuration, a key that is missing, and a file that others can read', async () => {
    const other = await cli.createProject()
    writeFileSync(join(other, 'trestle.config.ts'), 'export const nothing = 1\n')
    writeFileSync(join(other, '.env'), '')
    const { chmodSync } = await import('node:fs')
    chmodSync(join(other, '.env'), 0o644)
    const report = await cli.run(other, ['doctor'], { env: { TRESTLE_MASTER_KEY: undefined } })
    expect(report.code).toBe(1)
    expect(report.stdout).toMatch(/fail +Configuration .*no default export/)
    expect(report.stdout).toMatch(/fail +Master key +there is none/)
    expect(report.stdout).toMatch(/warn +\.env +mode 644[\s\S]*chmod 600/)
  })

  it('finds a database that is away', async () => {
    const report = await cli.run(folder, ['doctor', '--json'], {
      env: { DATABASE_URL: 'postgres://a:b@127.0.0.1:1/x' },
    })
    const { ok, findings } = JSON.parse(report.stdout) as {
      ok: boolean
      findings: { level: string; what: string; todo?: string }[]
    }
    expect([report.code, ok]).toEqual([1, false])
    expect(findings.find((finding) => finding.what === 'Database')).toMatchObject({
      level: 'fail',
      todo: expect.stringContaining('DATABASE_URL'),
    })
  })
})

describe('what is wrong ends with a code and a sentence', () => {
  it.each([
    [['--nonsense'], 2, /unknown option '--nonsense'/],
    [['runs', '--nonsense'], 2, /unknown option '--nonsense'/],
    [['rnus'], 2, /unknown command 'rnus'[\s\S]*Did you mean runs/],
    [['runs', 'shw'], 2, /no command "trestle runs shw"\. There are: list, show/],
    [['runs', 'show'], 2, /missing required argument 'id'[\s\S]*See: trestle runs show --help/],
    [['runs', 'show', 'a', 'b'], 2, /"b" is one argument too many/],
    [['runs', 'show', 'nonsense'], 2, /those begin with run_/],
    [['runs', 'show', 'run_00000000000000000000000000'], 3, /There is no run .* with: trestle runs/],
    [['runs', '--state', 'nonsense'], 2, /queued, running/],
    [['runs', '-n', '1000'], 2, /from 1 to 200/],
    [['events', 'show', 'evt_00000000000000000000000000'], 3, /There is no event/],
    [['serve', '--role', 'nonsense'], 2, /There are: intake, worker, api/],
    [['serve', '--port', '99999'], 2, /from 0 to 65535/],
    [['tokens', '--folder', '/nowhere'], 2, /There is no trestle\.config\.ts in \/nowhere/],
  ])('trestle %s: %i', async (args, code, words) => {
    const ended = await cli.run(folder, args)
    expect([ended.code, ended.stdout]).toEqual([code, ''])
    expect(ended.stderr).toMatch(words)
  })

  it('with --json the error is the one object on stdout too', async () => {
    const ended = await run('runs', 'show', 'run_00000000000000000000000000', '--json')
    expect(JSON.parse(ended.stdout)).toMatchObject({ error: { code: 'not_found' } })
    expect(ended.stderr).toContain('There is no run')
  })

  it('a database that is away ends with 4', async () => {
    const env = { DATABASE_URL: 'postgres://a:b@127.0.0.1:1/x' }
    expect((await cli.run(folder, ['runs'], { env })).code).toBe(4)
  })

  it('a port in use ends with 4, and leaves nothing', async () => {
    const port = new URL(url).port
    expect(await run('serve', '--port', port)).toMatchObject({
      code: 4,
      stderr: expect.stringContaining(`Port ${port} is in use`),
    })
  })

  it('no master key ends with 2, with both ways out', async () => {
    const ended = await cli.run(folder, ['runs'], { env: { TRESTLE_MASTER_KEY: undefined } })
    expect(ended).toMatchObject({ code: 2, stderr: expect.stringMatching(/openssl rand[\s\S]*trestle dev/) })
  })
})

describe('a mistake in the configuration', () => {
  const written: [path: string, from: string, to: string, words: RegExp][] = [
    [
      'trestle.config.ts',
      '[firstFlow, failing',
      '[firstFlow, failing, nothing',
      /trestle\.config\.ts:\d+: nothing is not defined\. Import it/,
    ],
    [
      'trestle.config.ts',
      './flows/more.ts',
      './flows/nope.ts',
      /trestle\.config\.ts:\d+: .*'\.\/flows\/nope\.ts', which is not there/,
    ],
    [
      'trestle.config.ts',
      'connectors/business-app',
      'connectors/busines-app',
      /does not have\. It has: business-app, /,
    ],
    ['trestle.config.ts', 'export default', 'export const config =', /Write: export default defineConfig/],
    ['trestle.config.ts', '    app:', '    App:', /trestle\.config\.ts:\d+: .*names are lower-case/],
    [
      'flows/first-flow.ts',
      "'first-flow'",
      "'First Flow'",
      /flows\/first-flow\.ts:\d+: .*lower-case letters/,
    ],
    [
      'flows/first-flow.ts',
      'appointment.completed',
      'appointment.done',
      /flows\/first-flow\.ts:\d+: .*It has: appointment\.booked/,
    ],
    [
      'flows/first-flow.ts',
      'const thanks =',
      'const thanks ==',
      /flows\/first-flow\.ts:\d+: This is no TypeScript/,
    ],
  ]

  it.each(written)('in %s, where %s became %s', async (path, from, to, words) => {
    const before = readFileSync(join(folder, path), 'utf8')
    expect(before).toContain(from)
    writeFileSync(join(folder, path), before.replace(from, to))
    const ended = await run('runs').finally(() => writeFileSync(join(folder, path), before))
    expect(ended.code).toBe(2)
    expect(ended.stderr).toMatch(words)
  })

  it('that only a start can see is refused by it: a secret that is not set', async () => {
    const before = readFileSync(join(folder, '.env'), 'utf8')
    writeFileSync(join(folder, '.env'), '')
    const ended = await run('serve', '--port', '0').finally(() => writeFileSync(join(folder, '.env'), before))
    expect(ended).toMatchObject({
      code: 2,
      stderr: expect.stringMatching(/APP_SIGNING_SECRET, which is not set/),
    })
  })
})

describe('init', () => {
  it('refuses a folder that holds something, and overwrites nothing', async () => {
    appendFileSync(join(folder, 'README.md'), 'mine')
    const refused = await cli.run(join(folder, '..'), ['init', 'shop'])
    expect([refused.code, refused.stderr]).toEqual([2, expect.stringContaining('is not empty')])
    expect(readFileSync(join(folder, 'README.md'), 'utf8')).toMatch(/mine$/)
    expect((await cli.run(folder, ['init', 'package.json'])).stderr).toContain('is a file')
  })
})

it('SIGTERM stops a server in order, with exit code 0', async () => {
  const other = cli.start(folder, ['serve', '--port', '0', '--role', 'intake', '--json'])
  await other.says(/"as":"ready"/)
  other.signal('SIGTERM')
  expect(await other.ended).toBe(0)
})
