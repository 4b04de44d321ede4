import { Option, type Command } from 'commander'
import colors from 'picocolors'
import { addCommand, addGroup, type CommandContext } from '../command.ts'
import { table } from '../output.ts'
import { timeWords } from '../times.ts'
import type { BudgetView } from '../views.ts'
import { withApi } from '../withApi.ts'

interface ListOptions {
  readonly connection?: string
  readonly all?: boolean
}

/** `trestle budgets`: what is used of the providers' limits, by whom, and where that leads. */
export function addBudgets(program: Command): void {
  const budgets = addGroup(program, 'budgets', "what is used of the providers' limits, and who uses it")

  addCommand(budgets, {
    usage: 'list',
    summary: 'use, headroom, forecast, and who spends it',
    isDefault: true,
    examples: ['trestle budgets', 'trestle budgets list --connection stripe'],
    options: [
      new Option('--connection <name>', 'of this connection alone'),
      new Option('--all', 'also limits that were never used'),
    ],
    run: (context, _args, { connection, all = false }: ListOptions) =>
      withApi(context, async (api) => {
        const answer = await api.get('/budgets', { query: { connection } })
        context.output.answerJson(answer.json, () =>
          listWords((answer.value as { readonly items: readonly BudgetView[] }).items, all, context),
        )
      }),
  })
}

function listWords(items: readonly BudgetView[], all: boolean, context: CommandContext): string {
  const shown = items.filter(({ lastUsedAt }) => all || lastUsedAt !== null)
  const listed = table(
    ['CONNECTION', 'LIMIT', 'USED', 'LEFT', 'OTHERS', 'WHO SPENDS IT (24 H)'],
    shown.map((one) => [
      one.connection,
      `${one.limit}${one.appliesTo === null ? '' : ` (${one.appliesTo}s)`}`,
      `${one.used} of ${one.allowed} in ${windowWords(one.windowSeconds)}`,
      String(one.headroom),
      one.foreign === 0 ? '' : String(one.foreign),
      spenderWords(one),
    ]),
    items.length === 0
      ? 'No connection has a limit.'
      : 'No limit was used yet. All that there are: trestle budgets list --all',
  )
  const notes = shown.flatMap((one) => noteWords(one, context))
  return notes.length === 0 ? listed : `${listed}\n\n${notes.join('\n')}`
}

const UNITS = [
  [86_400, 'day'],
  [3_600, 'h'],
  [60, 'min'],
] as const

function windowWords(seconds: number): string {
  for (const [length, unit] of UNITS)
    if (seconds >= length && seconds % length === 0)
      return seconds === length ? `a ${unit}`.replace('a h', 'an hour') : `${seconds / length} ${unit}`
  return `${seconds} s`
}

function spenderWords({ spentBy }: BudgetView): string {
  const most = spentBy
    .slice(0, 3)
    .map(({ flow, share }) => `${flow || 'checks'} ${Math.round(share * 100)} %`)
  return [...most, ...(spentBy.length > 3 ? [`and ${spentBy.length - 3} more`] : [])].join(', ')
}

function noteWords(one: BudgetView, { clock }: CommandContext): string[] {
  const which = `${one.connection}, limit "${one.limit}"`
  const refused = one.spentBy.reduce((sum, spender) => sum + spender.refused, 0)
  return [
    ...(one.blockedUntil === null
      ? []
      : [
          `${colors.yellow('waits')} ${which}: the provider wants nothing before ${timeWords(one.blockedUntil, clock)}.`,
        ]),
    ...(one.allowed === one.declared
      ? []
      : [`${which}: the provider says ${one.allowed}, the connector declares ${one.declared}.`]),
    ...(refused === 0 ? [] : [`${which}: ${refused} calls were refused in the last 24 hours.`]),
    ...(one.forecast.goneAt === null
      ? []
      : [
          `${colors.yellow('soon')} ${which}: at this rate it is used up at ${timeWords(one.forecast.goneAt, clock)}.`,
        ]),
    ...(one.forecast.reachedOn === null
      ? []
      : [`${which}: at this growth it is reached on ${one.forecast.reachedOn}.`]),
  ]
}
