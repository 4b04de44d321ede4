import { Option, type Command } from 'commander'
import { addCommand, addGroup } from '../command.ts'
import { table } from '../output.ts'
import { wholeNumber } from '../parse.ts'
import { withApi } from '../withApi.ts'

interface FlowView {
  readonly flow: string
  readonly version: number | null
  readonly runs: readonly { readonly version: number; readonly count: number }[]
  readonly newer: number
  readonly compared: number
  readonly conflicts: readonly { readonly run: string; readonly reason: string }[]
}

/** `trestle flows`: the flows and the runs that are in flight on them. */
export function addFlows(program: Command): void {
  const flows = addGroup(program, 'flows', 'flows with runs in flight, and whether these can go on')
  addCommand(flows, {
    usage: 'check',
    summary: 'compare the flows with the runs in flight, and name the runs that cannot go on',
    isDefault: true,
    details: [
      'The flows are those of the configuration here. Their code is executed between its steps, as at every resume;',
      'no step is, and nothing is sent.',
    ].join('\n'),
    examples: ['trestle flows', 'trestle flows check --compare 10000 --json'],
    options: [
      new Option('--compare <runs>', 'runs of each flow that are compared, the oldest first')
        .argParser(wholeNumber('compare', 0, 10_000))
        .default(500),
    ],
    run: (context, _args, { compare }: { readonly compare: number }) =>
      withApi(context, async (api) => {
        const answer = await api.get('/flows/in-flight', { query: { compare } })
        const { items } = answer.value as { readonly items: readonly FlowView[] }
        context.output.answerJson(answer.json, () => flowWords(items))
      }),
  })
}

function flowWords(items: readonly FlowView[]): string {
  if (items.length === 0) return 'No run is in flight.'
  const rows = items.map(({ flow, version, runs, newer, compared, conflicts }) => [
    flow,
    version === null ? 'gone' : String(version),
    runs.map((one) => `${one.count} on ${one.version}`).join(', '),
    String(compared),
    newer === 0 ? '' : `${newer} need a newer version`,
    conflicts.length === 0 ? '' : `${conflicts.length} cannot go on`,
  ])
  const conflicts = items.flatMap((one) => one.conflicts.map(({ run, reason }) => `${run}  ${reason}`))
  const ways =
    conflicts.length === 0
      ? ''
      : [
          '',
          '',
          ...conflicts,
          '',
          'The ways out, for each of them:',
          '  finish on the version that it began with: add that to "flows" beside the new one, then trestle runs retry ID',
          '  migrate it: trestle runs migrate ID --rename OLD=NEW, or --forget STEP',
          '  cancel it with what it can undo: trestle runs cancel ID',
        ].join('\n')
  return table(['flow', 'version', 'runs in flight', 'compared', '', ''], rows, 'No run is in flight.') + ways
}
