import { Option, type Command } from 'commander'
import { addCommand } from '../command.ts'
import { table } from '../output.ts'
import { wholeNumber } from '../parse.ts'
import { timeWords } from '../times.ts'
import type { LaneView } from '../views.ts'
import { withApi } from '../withApi.ts'
import { inLocalTime } from '../words.ts'

interface LaneOptions {
  readonly flow?: string
  readonly limit?: number
}

/** `trestle lanes`: where runs wait for the first of their lane, and what that waits for. */
export function addLanes(program: Command): void {
  addCommand(program, {
    usage: 'lanes',
    summary: 'lanes in which runs wait for the first, and what that one waits for',
    details:
      'Runs of a flow with the same key go one after another. What the first waits for holds up its lane, and no other.',
    examples: ['trestle lanes', 'trestle lanes --flow payment-received --json'],
    options: [
      new Option('--flow <name>', 'only of this flow'),
      new Option('-n, --limit <count>', 'how many, the longest first')
        .argParser(wholeNumber('limit', 1, 200))
        .default(20),
    ],
    run: (context, _args, { flow, limit }: LaneOptions) =>
      withApi(context, async (api) => {
        const answer = await api.get('/lanes', { query: { flow, limit } })
        const { items } = answer.value as { readonly items: readonly LaneView[] }
        context.output.answerJson(answer.json, () => laneTable(items, context.clock))
      }),
  })
}

function laneTable(lanes: readonly LaneView[], clock: Parameters<typeof timeWords>[1]): string {
  return table(
    ['FLOW', 'KEY', 'WAITING', 'SINCE', 'FIRST'],
    lanes.map(({ flow, key, waiting, head }) => [
      flow,
      key,
      waiting,
      timeWords(head.since, clock),
      inLocalTime(head.inWords, clock),
    ]),
    'No run waits for another one of its lane.',
  )
}
