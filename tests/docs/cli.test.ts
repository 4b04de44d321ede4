/** docs/guides/cli.md: every command as `--help` knows it, every exit code, and every variable that the code reads. */
import { readdirSync, readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import type { Command, Option } from 'commander'
import { expect, it } from 'vitest'
import { fullName } from '../../src/cli/command.ts'
import { EXIT_WORDS } from '../../src/cli/exitCodes.ts'
import { createProgram, everyCommand } from '../../src/cli/program.ts'

const SOURCE = resolve(import.meta.dirname, '../../src')

/** What commander does not know of an argument, by the command that takes it. */
const ARGUMENTS: Readonly<Record<string, string>> = {
  'trestle init': 'the folder to make',
  'trestle emit': 'type of the event, such as `appointment.completed`',
  'trestle events show': 'id of the event, `evt_…`',
  'trestle events replay': 'id of the event, `evt_…`',
  'trestle runs show': 'id of the run, `run_…`',
  'trestle runs retry': 'id of the run, `run_…`',
  'trestle runs replay': 'id of the run, `run_…`',
  'trestle runs migrate': 'id of the run, `run_…`',
  'trestle runs cancel': 'id of the run, `run_…`',
  'trestle runs settle': 'id of the run, `run_…`',
  'trestle replay': 'id of a run, `run_…`, or of an event, `evt_…`',
  'trestle cancel': 'id of the run, `run_…`',
  'trestle quarantine show': 'id of what is quarantined, `qrn_…`',
  'trestle quarantine release': 'id of what is quarantined, `qrn_…`',
  'trestle quarantine discard': 'id of what is quarantined, `qrn_…`',
  'trestle incidents show': 'id of the incident, `inc_…`',
  'trestle incidents ack': 'id of the incident, `inc_…`',
  'trestle schedules run': 'name of the schedule, which is that of its flow',
  'trestle schedules move': 'name of the poll, which is that of its flow',
  'trestle connections add': 'name of the connection, as in `trestle.config.ts`',
  'trestle connections test': 'name of the connection',
  'trestle connections verify': 'name of the connection',
  'trestle connections isolate': 'name of the connection',
  'trestle connections release': 'name of the connection',
  'trestle connections remove': 'name of the connection',
  'trestle connections revoke': 'name of the connection',
  'trestle connections rotate': 'name of the connection',
  'trestle connections ends': 'name of the connection',
  'trestle tokens create': 'a name to know it by; quote one with spaces',
  'trestle tokens rotate': 'id of the token, `tok_…`',
  'trestle tokens revoke': 'id of the token, `tok_…`',
  'trestle backup': 'the folder to make; it must not be there, or be empty',
  'trestle restore': 'the folder of a backup',
  'trestle audit export': 'the file to write; one that ends in `.gz` is compressed',
}

/** A test below holds this against what the code reads. */
const VARIABLES: Readonly<Record<string, string>> = {
  DATABASE_URL: 'the PostgreSQL to use; without it the embedded one in `.trestle/postgres`',
  TRESTLE_DATABASE_BACKEND:
    '`citus` or `cockroachdb` where the database is one; see [scaling](scaling.md#distributed-engines)',
  TRESTLE_DATABASE_DIRECT_URL:
    'the same PostgreSQL past a pooler, for listening; see [scaling](scaling.md#connection-pooling)',
  TRESTLE_MASTER_KEY:
    'opens the secrets in the database; without it the key in `.trestle/master.key`, which `trestle dev` makes',
  DISPLAY:
    'where a browser can be opened for `connections add`; without it and `WAYLAND_DISPLAY` the address is printed',
  WAYLAND_DISPLAY: 'the same, under Wayland',
  TRESTLE_MASTER_KEY_PREVIOUS:
    'the former master key, while `trestle vault rotate` turns from it; without it the key in `.trestle/master.previous.key`, where there is one; see [security](security.md#how-to-rotate-everything)',
  XDG_CACHE_HOME:
    'where the programs of the embedded PostgreSQL are kept, in `trestle/`; by default `~/.cache`, and for root always `/var/cache`',
}

/** Explained once, for all commands. */
const COMMON = ['--json', '--folder', '--config']

const cell = (text: string): string => text.replaceAll('|', '\\|').replaceAll('\n', ' ')
const code = (text: string): string => `\`${cell(text)}\``

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  return [head, head.map(() => '---'), ...rows].map((row) => `| ${row.join(' | ')} |`).join('\n')
}

function optionTable(options: readonly Option[]): string {
  return table(
    ['option', 'meaning', 'default'],
    options.map((option) => [code(option.flags), cell(option.description), defaultOf(option)]),
  )
}

/** Of a flag there is nothing to say: it is off. */
function defaultOf({ defaultValue, defaultValueDescription, negate }: Option): string {
  if (defaultValueDescription !== undefined) return cell(defaultValueDescription)
  return defaultValue === undefined || negate ? '' : code(String(defaultValue))
}

/** Lines of prose are one paragraph; what stands in columns stays so. */
function paragraphs(text: string): string {
  return text
    .split('\n\n')
    .map((part) => {
      const lines = part.split('\n')
      const inColumns = lines.every((line) => /^\S.*? {2,}\S/.test(line))
      return inColumns ? `\`\`\`text\n${part}\n\`\`\`` : lines.join(' ')
    })
    .join('\n\n')
}

/** Without details, the description of a command is its summary: lower case, no full stop. */
function wordsOf(command: Command): string {
  const text = command.description()
  return text === command.summary() ? `${text[0]!.toUpperCase()}${text.slice(1)}.` : paragraphs(text)
}

function helpOf(command: Command): string {
  let text = ''
  command.configureOutput({ writeOut: (part) => (text += part) })
  command.outputHelp()
  return text
}

function examplesOf(command: Command): string {
  const lines = helpOf(command).split('Examples:\n')[1] ?? ''
  return lines
    .trim()
    .split('\n')
    .map((line) => line.trim().replace(/^\$ /, ''))
    .join('\n')
}

function usageOf(command: Command): string {
  return `${fullName(command)} ${command.usage()}`
}

/** The command that a group's name alone stands for. Commander keeps it, and shows it nowhere. */
function defaultIn(group: Command): Command | undefined {
  const { _defaultCommandName: name } = group as unknown as { readonly _defaultCommandName?: string | null }
  return group.commands.find((command) => command.name() === name)
}

function leafSection(command: Command, depth: string): string {
  const own = command.options.filter((option) => !option.hidden && !COMMON.includes(option.long ?? ''))
  const common = command.options.filter((option) => COMMON.includes(option.long ?? ''))
  const name = fullName(command)
  const group = command.parent && defaultIn(command.parent) === command ? command.parent : undefined
  return [
    `${depth} ${name}`,
    wordsOf(command),
    `\`\`\`sh\n${usageOf(command)}\n\`\`\``,
    ...(group ? [`\`${fullName(group)}\` alone is the same.`] : []),
    ...command.registeredArguments.map((argument) => `\`<${argument.name()}>\`: ${ARGUMENTS[name] ?? ''}.`),
    ...(own.length === 0 ? [] : [optionTable(own)]),
    `${own.length === 0 ? 'Options' : 'And'}: ${common.map((option) => code(option.flags)).join(', ')}.`,
    `\`\`\`sh\n${examplesOf(command)}\n\`\`\``,
  ].join('\n\n')
}

function section(command: Command): string {
  if (command.commands.length === 0) return leafSection(command, '##')
  return [
    `## ${fullName(command)}`,
    command.description(),
    ...command.commands.map((one) => leafSection(one, '###')),
  ].join('\n\n')
}

const anchor = (command: Command): string => fullName(command).replaceAll(' ', '-')

/** The generated document. `npx vitest run tests/docs/cli.test.ts -u` writes it anew. */
function document(): string {
  const program = createProgram()
  const leaves = everyCommand(program).filter((command) => command.commands.length === 0)
  const common = COMMON.map((long) =>
    leaves.flatMap((leaf) => leaf.options).find((option) => option.long === long),
  )
  return [
    '# Command line',
    'Generated from the commands; a test keeps it current. `trestle COMMAND --help` says the same in the terminal. In a project, where Trestle is installed, write `npx trestle …`.',
    'A command works on the database directly, so that no server needs to run. Where the embedded PostgreSQL does not run, it is started for the command. Times are shown in the time zone of the machine.',
    table(
      ['command', 'does'],
      leaves.map((leaf) => [`[${fullName(leaf)}](#${anchor(leaf)})`, cell(leaf.summary())]),
    ),
    '## Options of every command',
    optionTable(common.flatMap((option) => option ?? [])),
    '`-h, --help` says what a command does, and `trestle --version` which version this is. `trestle init` has no project yet, and so neither `--folder` nor `--config`. A flag that there is not is refused.',
    '## Exit codes',
    table(
      ['code', 'meaning'],
      Object.entries(EXIT_WORDS).map(([number, words]) => [number, cell(words)]),
    ),
    'An error is a sentence on stderr that says what to do; with `--json` there is also an object on stdout, `{ "error": { "code": …, "message": … } }`.',
    '## Environment variables',
    table(
      ['variable', 'meaning'],
      Object.entries(VARIABLES).map(([name, meaning]) => [code(name), meaning]),
    ),
    'Variables of a file `.env` in the project’s folder are read too; those that are set already win. `NO_COLOR` switches colours off. [Configuration](configuration.md#environment-variables) says more.',
    ...program.commands.map(section),
    '',
  ].join('\n\n')
}

it('docs/guides/cli.md is what the commands say', async () => {
  await expect(document()).toMatchFileSnapshot('../../docs/guides/cli.md')
})

it('says what every argument is, and of no others', () => {
  const takers = everyCommand(createProgram()).filter((command) => command.registeredArguments.length > 0)
  expect(takers.map(fullName).sort()).toEqual(Object.keys(ARGUMENTS).sort())
})

it('names every variable that the code reads', () => {
  const read = new Set<string>()
  for (const entry of readdirSync(SOURCE, { recursive: true, withFileTypes: true })) {
    if (!entry.name.endsWith('.ts') || entry.name.endsWith('.test.ts')) continue
    const text = readFileSync(join(entry.parentPath, entry.name), 'utf8')
    for (const [, name] of text.matchAll(/(?:environment|process\.env)\[['"]([A-Z][A-Z0-9_]*)['"]\]/g))
      read.add(name!)
  }
  expect([...read].sort()).toEqual(Object.keys(VARIABLES).sort())
})

it('leaves out what is hidden', () => {
  expect(document()).not.toContain('--supervised')
})
