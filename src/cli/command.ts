import { userInfo } from 'node:os'
import { resolve } from 'node:path'
import type { Command, Option } from 'commander'
import { systemClock, UsageError, type Clock } from '../base/index.ts'
import type { Actor } from '../ledger/index.ts'
import { exitCodeOf, type ExitCode } from './exitCodes.ts'
import { closingAfter } from './closingAfter.ts'
import { createOutput, type Output } from './output.ts'
import type { Session } from './session.ts'

/** What every command works with. */
export interface CommandContext {
  readonly output: Output
  /** The project's folder, absolute. */
  readonly folder: string
  /** Another configuration file than trestle.config.ts. */
  readonly config: string | undefined
  readonly clock: Clock
  /** Who is at the command line, as the ledger names them. */
  readonly actor: Actor
  /** Opens the installation for one piece of work and closes it, also after a fault or Ctrl-C. */
  withSession<Result>(this: void, work: (session: Session) => Promise<Result>): Promise<Result>
}

/** One command: its words for `--help` and what it does. */
export interface CommandSpec<Options = Record<string, never>> {
  /** Name and arguments, as commander reads them: `show <id>`. */
  readonly usage: string
  /** One line, in lower case, without a full stop. */
  readonly summary: string
  /** What else a reader of `--help` should know. */
  readonly details?: string
  /** Whole command lines. */
  readonly examples: readonly [string, ...string[]]
  /** Done when its group is named alone: `trestle runs` is `trestle runs list`. */
  readonly isDefault?: boolean
  readonly options?: readonly Option[]
  /** Without a configuration to read, such as `init`: no --folder and --config. */
  readonly outsideProject?: boolean
  /** Gives an exit code where that is not 0. */
  run(context: CommandContext, args: readonly string[], options: Options): Promise<ExitCode | void>
}

interface CommonOptions {
  readonly json?: boolean
  readonly folder?: string
  readonly config?: string
}

/** Adds a command to the program or to a group. */
export function addCommand<Options>(parent: Command, spec: CommandSpec<Options>): Command {
  const command = parent
    .command(spec.usage, { isDefault: spec.isDefault ?? false })
    .description(spec.details === undefined ? spec.summary : `${sentence(spec.summary)}\n\n${spec.details}`)
    .summary(spec.summary)
  for (const option of spec.options ?? []) command.addOption(option)
  command.option('--json', 'one JSON object on stdout, for programs')
  if (spec.outsideProject !== true)
    command
      .option('-C, --folder <folder>', 'the folder of the project', '.')
      .option('--config <file>', 'another file than trestle.config.ts')
  command.addHelpText('after', `\nExamples:\n${spec.examples.map((line) => `  $ ${line}`).join('\n')}`)
  // Counted here, so that a mistyped word after a group is answered with the group's own commands.
  command.allowExcessArguments()
  command.action(async () => {
    refuseExcess(command, spec.isDefault === true)
    const options = command.opts<CommonOptions & Options>()
    const context = createContext(options)
    process.exitCode = await runReporting(context.output, () =>
      spec.run(context, command.args.slice(), options),
    )
  })
  return command
}

/** Adds a word that has commands of its own. */
export function addGroup(parent: Command, name: string, summary: string): Command {
  return parent.command(name).description(sentence(summary)).summary(summary)
}

/** Runs and answers with the exit code; an error is said first. */
export async function runReporting(output: Output, work: () => Promise<ExitCode | void>): Promise<ExitCode> {
  try {
    return (await work()) ?? 0
  } catch (error) {
    output.error(error)
    return exitCodeOf(error)
  }
}

function createContext(options: CommonOptions): CommandContext {
  const output = createOutput(options.json === true)
  const folder = resolve(options.folder ?? '.')
  return {
    output,
    folder,
    config: options.config,
    clock: systemClock,
    actor: `operator:${accountName()}`,
    withSession: (work) => withSession({ folder, config: options.config }, work),
  }
}

async function withSession<Result>(
  options: { readonly folder: string; readonly config: string | undefined },
  work: (session: Session) => Promise<Result>,
): Promise<Result> {
  const { openSession } = await import('./session.ts')
  const session = await openSession(options)
  return closingAfter(
    () => session.close(),
    () => work(session),
  )
}

function refuseExcess(command: Command, isDefault: boolean): void {
  const most = command.registeredArguments.some((argument) => argument.variadic)
    ? Infinity
    : command.registeredArguments.length
  const excess = command.args[most]
  if (excess === undefined) return
  const group = command.parent
  if (isDefault && group && !group.args.includes(command.name())) {
    const known = group.commands.map((one) => one.name()).filter((name) => name !== 'help')
    throw new UsageError(
      'command_unknown',
      `There is no command "trestle ${group.name()} ${excess}". There are: ${known.join(', ')}.`,
    )
  }
  throw new UsageError(
    'argument_unknown',
    `"${excess}" is one argument too many. See: ${fullName(command)} --help`,
  )
}

/** The words that name the command: `trestle runs show`. */
export function fullName(command: Command): string {
  return command.parent ? `${fullName(command.parent)} ${command.name()}` : command.name()
}

function accountName(): string {
  try {
    return userInfo().username
  } catch {
    return String(process.getuid?.() ?? 'unknown') // A user id without an account, as in some containers.
  }
}

function sentence(text: string): string {
  return `${text[0]!.toUpperCase()}${text.slice(1)}.`
}
