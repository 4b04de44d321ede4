import { fork } from 'node:child_process'
import { resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import colors from 'picocolors'
import { durationWords, systemRandom } from '../../base/index.ts'
import { findConfig, findDatabase, type FoundDatabase } from '../../runtime/index.ts'
import { readMasterKey } from '../../vault/index.ts'
import type { CommandContext } from '../command.ts'
import { environmentOf } from '../environment.ts'
import type { ExitCode } from '../exitCodes.ts'
import { banner } from '../serving/banner.ts'
import type { Ready } from '../serving/serve.ts'
import { stopSignal } from '../serving/signals.ts'
import { version } from '../version.ts'
import { startSupervisor, type Child, type Supervisor } from './supervisor.ts'
import { watchFiles } from './watchFiles.ts'

export interface DevOptions {
  readonly port: number
  readonly host: string
  readonly watch: boolean
}

/** Holds the database and a server in a child process until Ctrl-C; nothing is left then. */
export async function develop(context: CommandContext, options: DevOptions): Promise<ExitCode | 130> {
  const { output, folder, config } = context
  findConfig(folder, config)
  const say = (line: string): void => output.notice(line)
  const environment = environmentOf(folder)
  await makeMasterKey(folder, environment, say)
  let supervisor: Supervisor | undefined
  const stop = listenForStop(() => supervisor, say)
  // Held here too, so that the database stays up while the child is started again, and ends with us.
  const database = await findDatabase(folder, environment, say).catch((error: unknown) => {
    if (stop.asked()) return undefined // Ctrl-C reached the server that was being started, too.
    throw error
  })
  if (database === undefined || stop.asked()) {
    await database?.release()
    return 130
  }
  supervisor = supervise(context, options)
  return endsWith(supervisor, database, context, options)
}

function supervise({ output, folder, config, clock }: CommandContext, options: DevOptions): Supervisor {
  const say = (line: string): void => output.notice(line)
  let { port } = options
  return startSupervisor({
    spawn: () => spawnServer({ ...options, port, folder, config }),
    clock,
    say,
    watches: options.watch,
    onReady(ready, downMs) {
      // Any free port was as good as another; from now on it is the one that others know.
      if (ready.url !== undefined) port = Number(new URL(ready.url).port)
      if (downMs === 'first') return output.answer(ready, () => welcome(ready, options.watch))
      say(`${colors.green('Up again')} after ${durationWords(downMs)}.`)
      if (ready.live !== undefined) say(`Live page: ${ready.live}`)
    },
  })
}

async function endsWith(
  supervisor: Supervisor,
  database: FoundDatabase,
  { folder, clock }: CommandContext,
  options: DevOptions,
): Promise<ExitCode> {
  const onChange = (paths: readonly string[]): void => supervisor.restart(changeWords(paths))
  const files = options.watch ? watchFiles({ folder, clock, onChange }) : undefined
  const code = await supervisor.ended
  files?.stop()
  await database.release()
  return code
}

/** The first Ctrl-C stops in order, the second at once; only the third does not even wait for the database. */
function listenForStop(
  supervisor: () => Supervisor | undefined,
  say: (line: string) => void,
): { asked(): boolean } {
  let times = 0
  void stopSignal({
    onFirst() {
      times = 1
      say('\nStopping. Ctrl-C again stops at once.')
    },
    atOnce() {
      if (++times > 2) process.exit(130)
      supervisor()?.stopAtOnce()
    },
  }).then(() => supervisor()?.stop())
  return { asked: () => times > 0 }
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

function spawnServer(options: DevOptions & { folder: string; config: string | undefined }): Child {
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
