/** A flow is changed while a run of it waits: what the command line says about it, and the ways out. */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createBusinessAppTwin, type BusinessAppTwin } from '../../connectors/business-app/twin.ts'
import { openDatabase } from '../../src/db/index.ts'
import { createTestDatabase, type TestDatabase } from '../support/database.ts'
import { compilePackage, createCli, type Cli, type Ended } from './support.ts'

const KEY = Buffer.alloc(32, 'a key of the tests').toString('base64')

let database: TestDatabase
let cli: Cli
let folder: string
let app: BusinessAppTwin

beforeAll(async () => {
  app = createBusinessAppTwin()
  const appUrl = await app.start()
  database = await createTestDatabase()
  cli = createCli(await compilePackage('versions'), { DATABASE_URL: database.url, TRESTLE_MASTER_KEY: KEY })
  folder = await cli.createProject()
  edit('trestle.config.ts', (text) =>
    text
      .replace('http://127.0.0.1:4000', appUrl)
      .replace('import { firstFlow }', "import { visits } from './flows/visits.ts'\nimport { firstFlow }")
      .replace('[firstFlow]', '[firstFlow, ...visits]'),
  )
  edit('.env', (text) => text.replace(/(?<=APP_SIGNING_SECRET=).*/, app.signingSecret))
})
afterAll(async () => {
  await cli.end()
  await app.stop()
  await database.drop()
})

function edit(path: string, change: (text: string) => string): void {
  const file = join(folder, path)
  writeFileSync(file, change(readFileSync(file, 'utf8')))
}

/** The flow in these versions; from the second on its first step has another name. */
function write(...versions: number[]): void {
  const flow = (version: number): string => `defineFlow({
  name: 'visit',
  version: ${version},
  on: businessApp.on('appointment.no_show'),
  async run({ event, use, waitFor, step }) {
    await step('${version === 1 ? 'look' : 'look up'}', () => ${version})
    await use(businessApp).records.put({ collection: 'visits', id: event.data.id, fields: { seen: 'yes' } })
    await waitFor(businessApp.on('appointment.booked'), { on: 'data.id', equals: event.data.id, timeout: '1 day' })
    await step('done', () => ${version})
    return 'version ${version}'
  },
})`
  writeFileSync(
    join(folder, 'flows/visits.ts'),
    `import { defineFlow } from 'trestle'
import { businessApp } from 'trestle/connectors/business-app'

export const visits = [${versions.map(flow).join(', ')}]
`,
  )
}

const run = (...args: string[]): Promise<Ended> => cli.run(folder, args)

interface Shown {
  readonly state: string
  readonly flowVersion?: number
  readonly result?: unknown
}

async function reached(id: string, state: string): Promise<Shown> {
  for (;;) {
    const shown = await cli.json<Shown>(folder, ['runs', 'show', id])
    if (shown.state === state) return shown
  }
}

async function emit(type: string, id: string): Promise<string[]> {
  const data = JSON.parse(readFileSync(join(folder, 'events/appointment-completed.json'), 'utf8')) as object
  writeFileSync(join(folder, 'event.json'), JSON.stringify({ ...data, id }))
  const { event } = await cli.json<{ event: { runs: { id: string }[] } }>(folder, [
    'emit',
    type,
    '--data',
    '@event.json',
    '--id',
    `${type} ${id}`,
  ])
  return event.runs.map((one) => one.id)
}

/** What a server does meanwhile; it is stopped in order. */
async function served(work: () => Promise<void>): Promise<void> {
  const server = cli.start(folder, ['serve', '--port', '0', '--json'])
  await server.says(/^\{.*"as":"ready".*\}$/m)
  await work()
  server.signal('SIGTERM')
  expect(await server.ended).toBe(0)
}

describe('a flow that is changed while runs of it wait', () => {
  const runs: string[] = []

  it('fits as long as it asks for the same steps', async () => {
    write(1)
    expect((await run('flows')).stdout).toContain('No run is in flight.')
    await served(async () => {
      for (const id of ['apt_a', 'apt_b', 'apt_c']) {
        const [started] = await emit('appointment.no_show', id)
        await reached(started!, 'waiting')
        runs.push(started!)
      }
    })
    const { stdout } = await run('flows')
    expect(stdout).toMatch(/visit.*1.*3 on 1.*3/)
    expect(stdout).not.toContain('cannot go on')
  })

  it('is named with each run that cannot go on, the difference, and the ways out', async () => {
    write(2)
    const { code, stdout } = await run('flows', 'check')
    expect(code).toBe(0)
    expect(stdout).toContain('3 cannot go on')
    for (const id of runs) expect(stdout).toMatch(new RegExp(`${id}  .*look`))
    expect(stdout).toMatch(/finish on the version[\s\S]*trestle runs migrate[\s\S]*trestle runs cancel/)
    const { items } = await cli.json<{ items: { conflicts: { run: string }[] }[] }>(folder, ['flows'])
    expect(items[0]!.conflicts.map((one) => one.run).sort()).toEqual([...runs].sort())
    // Fewer are compared where that is asked for.
    expect((await run('flows', '--compare', '1')).stdout).toContain('1 cannot go on')
  })

  it('refuses a migration that does not fit, and leaves the run as it was', async () => {
    for (const [args, words] of [
      [[], /does not fit version 2[\s\S]*Nothing was changed/],
      [['--forget', 'business-app.records.put'], /had an effect, which stays[\s\S]*--forget-effects/],
    ] as const) {
      const { code, stdout, stderr } = await run('runs', 'migrate', runs[0]!, ...args)
      expect([code, stdout]).toEqual([expect.toBeOneOf([1, 2]), ''])
      expect(stderr).toMatch(words)
    }
    expect(await reached(runs[0]!, 'waiting')).toMatchObject({ state: 'waiting' })
    expect((await run('flows')).stdout).toContain('3 cannot go on')
  })

  it('lets a run go on that is migrated, without doing its steps again', async () => {
    const { code, stdout, stderr } = await run('runs', 'migrate', runs[0]!, '--rename', 'look=look up')
    expect([code, stderr, stdout]).toEqual([0, '', expect.stringContaining('goes on')])
    expect((await run('flows')).stdout).toContain('2 cannot go on')
    const { items } = await cli.json<{ items: { action: string; actor: string }[] }>(folder, [
      'ledger',
      '--run',
      runs[0]!,
    ])
    expect(items).toContainEqual(
      expect.objectContaining({ action: 'run.migrated', actor: expect.stringMatching(/^operator:./) }),
    )
    const puts = app.effects().length
    await served(async () => {
      await emit('appointment.booked', 'apt_a')
      expect(await reached(runs[0]!, 'succeeded')).toMatchObject({ result: 'version 2' })
    })
    expect(app.effects()).toHaveLength(puts)
  })

  it('finishes a run on the version that it began with, where that is there beside the new one', async () => {
    write(1, 2)
    expect((await run('flows')).stdout).not.toContain('cannot go on')
    await served(async () => {
      await emit('appointment.booked', 'apt_b')
      expect(await reached(runs[1]!, 'succeeded')).toMatchObject({ result: 'version 1' })
    })
  })

  it('cancels a run whose flow is gone', async () => {
    write()
    expect((await run('flows')).stdout).toMatch(/visit.*gone/)
    await served(async () => {
      expect((await run('runs', 'cancel', runs[2]!)).code).toBe(0)
      await reached(runs[2]!, 'cancelled')
    })
    expect((await run('flows')).stdout).toContain('No run is in flight.')
  })
})

describe('db distribute', () => {
  it('says what is missing where there is no Citus', async () => {
    const { code, stderr } = await run('db', 'distribute')
    expect([code, stderr]).toEqual([2, expect.stringContaining('CREATE EXTENSION citus')])
  })

  it('distributes what has a tenant, says so in the ledger, and does nothing twice', async () => {
    await pretendCitus()
    const { code, stdout } = await run('db', 'distribute')
    expect([code, stdout]).toEqual([
      0,
      expect.stringMatching(/^Distributed by tenant: .*events.*ledger.*runs/),
    ])
    expect((await run('db', 'distribute')).stdout).toMatch(/^All \d+ tables were distributed already\./)
    const { items } = await cli.json<{ items: { action: string }[] }>(folder, ['ledger', '-n', '50'])
    expect(items.filter(({ action }) => action === 'database.distributed')).toHaveLength(2)
  })

  /** What of Citus the command asks for: a function that writes down what it was asked to distribute. */
  async function pretendCitus(): Promise<void> {
    const asAdmin = openDatabase({ url: database.url, max: 1 })
    await asAdmin.pool.query(
      `create table pg_dist_partition (logicalrelid regclass);
       create function create_distributed_table(name regclass, by text, colocate_with text) returns void language sql
         as 'insert into pg_dist_partition values (name)';
       insert into pg_extension (oid, extname, extowner, extnamespace, extrelocatable, extversion)
         select 99999, 'citus', extowner, extnamespace, false, '13.0' from pg_extension limit 1`,
    )
    await asAdmin.close()
  }
})
