/**
 * A newcomer's first minutes: init → dev → emit → runs show, with the embedded database; what happens when the server
 * is killed, a file changes, or Ctrl-C is pressed; and that nothing is left behind.
 */
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { childrenOf, compilePackage, createCli, processesIn, type Cli, type Running } from './support.ts'

let cli: Cli
let folder: string
let dev: Running
let port: number

beforeAll(async () => {
  cli = createCli(await compilePackage('dev'), {})
  folder = await cli.createProject()
})
afterAll(() => cli.end())

const UP = /Stop with Ctrl-C/
const edit = (path: string, change: (text: string) => string): void =>
  writeFileSync(join(folder, path), change(readFileSync(join(folder, path), 'utf8')))

/** Whether something listens on the port. */
function listens(on: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(on, '127.0.0.1')
    socket.once('connect', () => resolve(true)).once('error', () => resolve(false))
    socket.once('connect', () => socket.destroy())
  })
}

async function start(): Promise<void> {
  dev = cli.start(folder, ['dev', '--port', '0'])
  await dev.says(UP)
  port = Number(/http:\/\/127\.0\.0\.1:(\d+)/.exec(dev.said)![1])
}

/** What listens at the port of the server now is another's, once no process of this folder is left. */
async function expectNothingLeft(): Promise<void> {
  expect(processesIn(folder)).toEqual([])
  const databasePort = Number(readFileSync(join(folder, '.trestle/postgres/port'), 'utf8'))
  expect(await listens(databasePort)).toBe(false)
  expect(existsSync(join(folder, '.trestle/postgres/data/postmaster.pid'))).toBe(false)
}

it('a new project runs: dev makes key and database, an event runs its flow', async () => {
  const began = await cli.run(folder, ['runs'])
  expect(began).toMatchObject({ code: 2, stderr: expect.stringContaining('run "trestle dev" once') })
  await start()
  expect(dev.said).toContain('A master key was made')
  expect(dev.said).toMatch(/Live page +http:\/\/127\.0\.0\.1:\d+\/live\/enter\?code=/)
  expect(dev.said).toMatch(/first-flow +business-app appointment\.completed/)

  const emitted = await cli.run(folder, [
    'emit',
    'appointment.completed',
    '--data',
    '@events/appointment-completed.json',
  ])
  const run = /run_\w+/.exec(emitted.stdout)![0]
  expect((await cli.run(folder, ['runs', 'show', run])).stdout).toContain('first-flow')
  await dev.says(/To ada@example\.com: Dear Ada Lovelace, thank you for €45\.00 \(Haircut\)\./)
  // Said by the flow's last step, just before the run's end is written.
  for (let state = ''; state !== 'succeeded';)
    ({ state } = await cli.json<{ state: string }>(folder, ['runs', 'show', run]))
})

it('a run that sleeps goes on after the server was killed, without doing its first step again', async () => {
  const emitted = await cli.run(folder, [
    'emit',
    'appointment.completed',
    '--data',
    '@events/appointment-completed.json',
  ])
  const run = /run_\w+/.exec(emitted.stdout)![0]
  for (let steps = 0; steps === 0;)
    steps = (await cli.json<{ steps: { state: string }[] }>(folder, ['runs', 'show', run])).steps.filter(
      (step) => step.state === 'succeeded',
    ).length
  const [child] = childrenOf(dev.pid)
  dev.said = ''
  process.kill(child!, 'SIGKILL')
  await dev.says(/The server ended \(SIGKILL\)/)
  await dev.says(/Up again after/)
  await dev.says(/To ada@example\.com/)
  for (let state = ''; state !== 'succeeded';)
    ({ state } = await cli.json<{ state: string }>(folder, ['runs', 'show', run]))
})

it('a change is taken up; a mistake is said with its line, and mending it is enough', async () => {
  edit('flows/first-flow.ts', (text) => text.replace("name: 'first-flow'", "name: 'First Flow'"))
  await dev.says(/flows\/first-flow\.ts:\d+: Flow "First Flow": its name must be/)
  await dev.says(/Waiting for a change/)
  dev.said = ''
  edit('flows/first-flow.ts', (text) => text.replace("name: 'First Flow'", "name: 'second-flow'"))
  await dev.says(/Up again after/)
  dev.said = ''
  edit('flows/first-flow.ts', (text) => text.replace("name: 'second-flow'", "name: 'first-flow'"))
  await dev.says(/Up again after/)
})

it('commands share the database of a running dev, and leave it running', async () => {
  expect((await cli.run(folder, ['doctor'])).code).toBe(0)
  expect((await cli.run(folder, ['audit', 'export', join(folder, 'copy.jsonl')])).code).toBe(0)
  expect(await listens(port)).toBe(true)
})

it('Ctrl-C leaves nothing behind: no process, no port', async () => {
  dev.signal('SIGINT')
  await dev.says(/Stopping\. Ctrl-C again stops at once\./)
  expect(await dev.ended).toBe(0)
  await expectNothingLeft()
})

it('a command alone starts the database for itself and leaves nothing either', async () => {
  const { items } = await cli.json<{ items: unknown[] }>(folder, ['runs'])
  expect(items).toHaveLength(2)
  await expectNothingLeft()
})

it('a supervisor that is killed takes its server and the database along', async () => {
  await start()
  const [child] = childrenOf(dev.pid)
  dev.signal('SIGKILL')
  await dev.ended
  await gone(child!)
  await expectNothingLeft()
})

it('twice Ctrl-C does not wait for the server, and still leaves nothing', async () => {
  await start()
  const [child] = childrenOf(dev.pid)
  process.kill(child!, 'SIGSTOP') // It cannot stop in order.
  dev.signal('SIGINT')
  await dev.says(/Stopping/)
  dev.signal('SIGINT')
  expect(await dev.ended).toBe(0)
  await expectNothingLeft()
})

/** Resolves when the process has ended. It is no child of ours, so it is asked for. */
async function gone(pid: number): Promise<void> {
  for (;;) {
    try {
      process.kill(pid, 0)
    } catch {
      return
    }
    await new Promise(setImmediate)
  }
}
