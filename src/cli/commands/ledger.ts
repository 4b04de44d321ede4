import { Option, type Command } from 'commander'
import { addCommand } from '../command.ts'
import { withApi } from '../withApi.ts'
import { table } from '../output.ts'
import { pageOptions, type PageOptions } from '../parse.ts'
import { timeWords } from '../times.ts'
import type { LedgerView, PageView } from '../views.ts'
import { moreWords, stateWords } from '../words.ts'

interface Options extends PageOptions {
  readonly run?: string
  readonly target?: string
  readonly connection?: string
  readonly action?: string
}

/** `trestle ledger`: what was exchanged and done. */
export function addLedger(program: Command): void {
  addCommand(program, {
    usage: 'ledger',
    summary: 'what was exchanged and done, by whom',
    details: 'With --json each entry has its detail: of a call, request and answer, redacted.',
    examples: [
      'trestle ledger --run run_01jd…',
      'trestle ledger --action token.created',
      'trestle ledger --connection stripe -n 100 --json',
    ],
    options: [
      ...pageOptions(),
      new Option('--run <id>', 'only of this run'),
      new Option('--target <id>', 'only what was done to this'),
      new Option('--connection <name>', 'only over this connection'),
      new Option('--action <action>', 'only this, such as run.replayed'),
    ],
    run: (context, _args, { limit, cursor, run, target, connection, action }: Options) =>
      withApi(context, async (api) => {
        const answer = await api.get('/ledger', { query: { limit, cursor, run, target, connection, action } })
        const page = answer.value as PageView<LedgerView>
        context.output.answerJson(
          answer.json,
          () =>
            table(
              ['AT', 'WHO', 'DID', 'TO', 'OUTCOME'],
              page.items.map((entry) => [
                timeWords(entry.at, context.clock),
                entry.actor,
                entry.action,
                entry.target,
                stateWords(entry.outcome),
              ]),
              'There are no such entries.',
            ) + moreWords(page),
        )
      }),
  })
}
