import { Option, type Command } from 'commander'
import colors from 'picocolors'
import { RUN_MOVES } from '../../../define/index.ts'
import type { Clock } from '../../../base/index.ts'
import { addCommand } from '../../command.ts'
import { withApi } from '../../withApi.ts'
import { table } from '../../output.ts'
import { collect, oneOf, pageOptions, type PageOptions } from '../../parse.ts'
import { timeWords } from '../../times.ts'
import type { DeadLetterView, PageView, RunView } from '../../views.ts'
import { inLocalTime, moreWords, stateWords } from '../../words.ts'

interface ListOptions extends PageOptions {
  readonly state?: readonly string[]
  readonly flow?: string
  readonly connection?: string
  readonly event?: string
}

const filterOptions = (): Option[] => [
  new Option('--flow <name>', 'only of this flow'),
  new Option('--connection <name>', 'only those that an event of this connection started'),
  new Option('--event <id>', 'only those of this event'),
]

/** `trestle runs list`. */
export function listRunsCommand(runs: Command): void {
  addCommand(runs, {
    usage: 'list',
    summary: 'the newest runs',
    isDefault: true,
    examples: [
      'trestle runs',
      'trestle runs --state held --state parked',
      'trestle runs --flow first-flow --json',
    ],
    options: [
      ...pageOptions(),
      new Option(
        '--state <state>',
        `only these; may be given several times: ${Object.keys(RUN_MOVES).join(', ')}`,
      ).argParser(collectState),
      ...filterOptions(),
    ],
    run: (context, _args, { limit, cursor, state, flow, connection, event }: ListOptions) =>
      withApi(context, async (api) => {
        const query = { limit, cursor, state, flow, connection, event }
        const answer = await api.get('/runs', { query })
        const page = answer.value as PageView<RunView>
        context.output.answerJson(
          answer.json,
          () => runTable(page.items, context.clock, 'There are no such runs.') + moreWords(page),
        )
      }),
  })
}

/** `trestle dead-letters`: runs that gave up. */
export function addDeadLetters(program: Command): void {
  addCommand(program, {
    usage: 'dead-letters',
    summary: 'runs that gave up, with their reasons',
    details:
      'Retry one with "trestle runs retry ID" (the same run goes on), or end it with "trestle runs cancel ID".',
    examples: ['trestle dead-letters', 'trestle dead-letters --flow payment-received -n 100'],
    options: [...pageOptions(), ...filterOptions()],
    run: (context, _args, { limit, cursor, flow, connection, event }: ListOptions) =>
      withApi(context, async (api) => {
        const answer = await api.get('/dead-letters', { query: { limit, cursor, flow, connection, event } })
        const page = answer.value as PageView<DeadLetterView>
        context.output.answerJson(
          answer.json,
          () => deadLetterWords(page.items, context.clock) + moreWords(page),
        )
      }),
  })
}

/** Each on its own lines: a table has no room for the sentence that says why, and for the last answer. */
function deadLetterWords(runs: readonly DeadLetterView[], clock: Clock): string {
  if (runs.length === 0) return 'There are no dead letters.'
  return runs
    .map((run) =>
      [
        `${colors.bold(run.id)}  ${run.flow}  ${run.event.summary ?? run.event.type ?? ''}`,
        `  ${colors.dim(timeWords(run.updatedAt, clock))}  ${colors.red(run.reason ?? 'It gave up.')}`,
        ...(run.lastAnswer ? [colors.dim(`  ${inLocalTime(run.lastAnswer.inWords, clock)}`)] : []),
      ].join('\n'),
    )
    .join('\n')
}

function collectState(text: string, before: readonly string[] | undefined): string[] {
  return collect(oneOf(Object.keys(RUN_MOVES))(text), before)
}

/** Runs under a head; what started each, and why it is where it is. */
export function runTable(runs: readonly RunView[], clock: Clock, none: string): string {
  return table(
    ['ID', 'STARTED', 'FLOW', 'STATE', 'FOR'],
    runs.map((run) => [
      run.id,
      timeWords(run.createdAt, clock),
      run.flow,
      stateWords(run.state),
      [run.event.summary ?? run.event.type, run.reason && colors.dim(run.reason)].filter(Boolean).join(' · '),
    ]),
    none,
  )
}
