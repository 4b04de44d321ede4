import { fork } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseEnv } from 'node:util'
import { Option, type Command } from 'commander'
import colors from 'picocolors'
import { durationWords, systemRandom } from '../../base/index.ts'
import { findConfig, findDatabase } from '../../runtime/index.ts'
import { readMasterKey } from '../../vault/index.ts'
import { addCommand } from '../command.ts'
import { startSupervisor, type Child, type Supervisor } from '../dev/supervisor.ts'
import { watchFiles } from '../dev/watchFiles.ts'
import type { Ready } from '../serving/serve.ts'
import { stopSignal } from '../serving/signals.ts'
import { version } from '../version.ts'
import { banner, hostOption, portOption } from './serve.ts'

interface Options {
  readonly port: number
  readonly host: string
  readonly watch: boolean
}

/** `trestle dev`: everything on this machine, restarted when it ends or when a file changes. */
export function addDev(program: Command): void {
  addCommand(program, {
    usage: 'dev',
    summary: 'develop: the platform with a database of its own, restarted on changes',
    details: [
      'Starts the embedded PostgreSQL in .trestle/ (unless DATABASE_URL is set), makes a master key there if none is set,',
      'and serves in a child process with every role. The child is started again when it ends, by whatever cause, and',
      'when a file of the project changes. Ctrl-C stops everything in order; a second one at once.',
    ].join('\n'),
    examples: ['trestle dev', 'trestle dev --port 4001 --no-watch'],
    options: [portOption(), hostOption(), new Option('--no-watch', 'do not start again when a file changes')],
    async run({ output, folder, config, clock }, _args, options: Options) {
      findConfig(folder, config)
      const say = (line: string): void => output.notice(line)
      const environment = withEnvironmentFile(folder)
      await makeMasterKey(folder, environment, say)
      // Held here too, so that the database stays up while the child is started again, and ends with us.
      const database = await findDatabase(folder, environment, say)
      const supervisor = startSupervisor({
        spawn: () => spawnServer({ ...options, folder, config }),
        clock,
        say,
        watches: options.watch,
        onReady(ready, downMs) {
          if (downMs === 'first') return output.answer(ready, () => welcome(ready, options.watch))
          say(`${colors.green('Up again')} after ${durationWords(downMs)}.`)
          if (ready.live !== undefined) say(`Live page: ${ready.live}`)
        },
      })
      const files = options.watch
        ? watchFiles({
            folder,
            clock,
            onChange: (paths) => supervisor.restart(changeWords(paths)),
          })
        : undefined
      stopOnSignal(supervisor, say)
      const code = await supervisor.ended
      files?.stop()
      await database.release()
      process.exit(code)
    },
  })
}

function stopOnSignal(supervisor: Supervisor, say: (line: string) => void): void {
  let more = 0
  void stopSignal({
    onFirst: () => say('\nStopping. Ctrl-C again stops at once.'),
    atOnce() {
      // Even then the database is ended first; only the third time nothing is waited for.
      if (more++ > 0) process.exit(130)
      supervisor.stopAtOnce()
    },
  }).then(() => supervisor.stop())
}

/** The variables that the child will have: those that are set, before those of `.env`. */
function withEnvironmentFile(folder: string): NodeJS.ProcessEnv {
  const file = resolve(folder, '.env')
  return existsSync(file) ? { ...parseEnv(readFileSync(file, 'utf8')), ...process.env } : process.env
}

async function makeMasterKey(
  folder: string,
  environment: NodeJS.ProcessEnv,
  say: (line: string) => void,
): Promise<void> {
  const file = resolve(folder, '.trestle', 'master.key')
  const { from } = await readMasterKey({
    value: environment['TRESTLE_MASTER_KEY'],
    file,
    mayGenerate: true,
    random: systemRandom,
  })
  if (from === 'generated') say(`A master key was made in ${file}: it opens the secrets of this database.`)
}

function spawnServer(options: Options & { folder: string; config: string | undefined }): Child {
  const child = fork(
    fileURLToPath(new URL('../main.js', import.meta.url)),
    [
      'serve',
      '--supervised',
      '--folder',
      options.folder,
      '--port',
      String(options.port),
      '--host',
      options.host,
      ...(options.config === undefined ? [] : ['--config', options.config]),
    ],
    { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] },
  )
  return {
    pid: child.pid,
    kill: (signal) => void child.kill(signal),
    onReady: (listener) => void child.on('message', (message: Ready) => listener(message)),
    onExit: (listener) => void child.once('exit', (code, signal) => listener({ code, signal })),
  }
}

function changeWords(paths: readonly string[]): string {
  const [first = '', ...more] = paths
  return `${first}${more.length > 0 ? ` and ${more.length} more` : ''} changed.`
}

function welcome(ready: Ready, watches: boolean): string {
  return [
    '',
    `${colors.bold(`Trestle ${version()}`)} is up.`,
    '',
    banner(ready),
    watches ? 'Changes to files are taken up as you save them. Stop with Ctrl-C.' : 'Stop with Ctrl-C.',
  ].join('\n')
}
