import { Option, type Command } from 'commander'
import { addCommand } from '../command.ts'
import type { DevOptions } from '../dev/develop.ts'
import { hostOption, portOption } from './serve.ts'

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
    async run(context, _args, options: DevOptions) {
      const { develop } = await import('../dev/develop.ts')
      process.exit(await develop(context, options))
    },
  })
}
