import { Option, type Command } from 'commander'
import { SECOND, UsageError } from '../../base/index.ts'
import type { Role } from '../../runtime/index.ts'
import { addCommand } from '../command.ts'
import { wholeNumber } from '../parse.ts'
import { banner } from '../serving/banner.ts'
import { stopSignal } from '../serving/signals.ts'

interface Options {
  readonly role: string
  readonly port: number
  readonly host: string
  readonly linger: number
  readonly supervised?: boolean
}

export const portOption = (): Option =>
  new Option('-p, --port <port>', 'where to listen; 0 takes any free port')
    .argParser(wholeNumber('port', 0, 65_535))
    .default(3000)

export const hostOption = (): Option =>
  new Option('--host <address>', 'address to listen on; 0.0.0.0 for every one').default('127.0.0.1')

/** What a process can do. Every role has its words. */
const ROLE_WORDS: Readonly<Record<Role, string>> = {
  intake: 'takes webhooks',
  worker: 'executes runs',
  api: 'answers the API and shows the live page',
}
const ROLES = Object.keys(ROLE_WORDS) as readonly Role[]

/** `trestle serve`: one process, for servers. */
export function addServe(program: Command): void {
  addCommand(program, {
    usage: 'serve',
    summary: 'serve in one process, for servers',
    details: [
      'Needs TRESTLE_MASTER_KEY, and DATABASE_URL unless the embedded PostgreSQL is wanted. SIGTERM or Ctrl-C stops it',
      'in order within 10 s, or 45 s where a call is under way that must not be cut; a second one at once. Something',
      'else restarts it: systemd, Docker, "trestle dev".',
      '',
      ...ROLES.map((role) => `${role.padEnd(6)}  ${ROLE_WORDS[role]}`),
    ].join('\n'),
    examples: [
      'trestle serve --host 0.0.0.0 --port 8080',
      'trestle serve --role worker',
      'trestle serve --role intake,api --port 8080 --linger 10',
    ],
    options: [
      new Option('--role <roles>', 'what this process does; several with commas').default(
        ROLES.join(','),
        'all',
      ),
      portOption(),
      hostOption(),
      new Option(
        '--linger <seconds>',
        'after SIGTERM, take webhooks for so long still while /ready says 503, so that a load balancer looks away',
      )
        .argParser(wholeNumber('linger', 0, 300))
        .default(0),
      new Option('--supervised').hideHelp(),
    ],
    async run({ output, folder, config, clock }, _args, options: Options) {
      const roles = rolesOf(options.role)
      const { serve } = await import('../serving/serve.ts')
      const supervised = options.supervised === true && process.send !== undefined
      const say = (line: string): void => void process.stderr.write(`${line}\n`)
      const told = stopSignal({
        atOnce: () => process.exit(130),
        // Ctrl-C reaches the whole group; the supervisor decides what it means.
        ...(supervised && { ignored: ['SIGINT', 'SIGHUP'] as const }),
      })
      const alone = new Promise<void>((resolve) => {
        if (supervised) process.once('disconnect', resolve)
      })
      const code = await serve({
        folder,
        config,
        roles,
        port: options.port,
        host: options.host,
        lingerMs: options.linger * SECOND,
        clock,
        say,
        // The supervisor holds the same database, and has said so.
        onDatabaseNotice: (line) => {
          if (!supervised || !/^(Using the PostgreSQL|PostgreSQL keeps running)/.test(line)) say(line)
        },
        stopped: Promise.race([told, alone]),
        onReady: (ready) => (supervised ? process.send!(ready) : output.answer(ready, () => banner(ready))),
      }).finally(() => {
        // Its open channel would keep a server that could not start.
        if (supervised && process.connected) process.disconnect()
      })
      // What a stop could not end must not keep the process.
      process.exit(code)
    },
  })
}

/** Roles from `intake,worker`. */
function rolesOf(text: string): readonly Role[] {
  const given = text.split(',').map((role) => role.trim())
  for (const role of given)
    if (!ROLES.includes(role as Role))
      throw new UsageError(
        'role_unknown',
        `There is no role "${role}". There are: ${ROLES.join(', ')}; several with commas, such as --role intake,api.`,
      )
  return [...new Set(given as Role[])]
}
