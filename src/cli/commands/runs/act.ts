import { Option, type Command } from 'commander'
import { parseJson, reasonOf, UsageError } from '../../../base/index.ts'
import { addCommand } from '../../command.ts'
import { withApi } from '../../withApi.ts'
import { runId, wholeNumber } from '../../parse.ts'

/** `trestle runs retry`: the same run goes on. */
export function retryRunCommand(runs: Command): void {
  addCommand(runs, {
    usage: 'retry <id>',
    summary: 'let a dead letter or a parked run go on: the same run, journal and keys',
    details: 'Nothing that was done is repeated; the step that failed last is tried again.',
    examples: ['trestle runs retry run_01jd…'],
    run: (context, [id = '']) =>
      withApi(context, async (api) => {
        const run = runId(id)
        const answer = await api.post('/runs/{id}/retry', { params: { id: run } })
        context.output.answerJson(answer.json, () => `${run} goes on. See: trestle runs show ${run}`)
      }),
  })
}

/** `trestle runs cancel`, also `trestle cancel`. */
export function cancelRunCommand(parent: Command): void {
  addCommand(parent, {
    usage: 'cancel <id>',
    summary: 'undo what can be undone, and end the run',
    details: 'Steps in doubt are resolved first; then undos run in reverse order.',
    examples: [`trestle ${parent.name() === 'runs' ? 'runs ' : ''}cancel run_01jd…`],
    run: (context, [id = '']) =>
      withApi(context, async (api) => {
        const run = runId(id)
        const answer = await api.post('/runs/{id}/cancel', { params: { id: run } })
        context.output.answerJson(
          answer.json,
          () =>
            `${run} is being cancelled; what it did is undone where that is possible. See: trestle runs show ${run}`,
        )
      }),
  })
}

interface SettleOptions {
  readonly step?: string
  readonly ordinal?: number
  readonly done?: boolean
  readonly notDone?: boolean
  readonly undone?: boolean
  readonly result?: string
}

/** `trestle runs settle`: a person's word. */
export function settleRunCommand(runs: Command): void {
  addCommand(runs, {
    usage: 'settle <id>',
    summary: "say what happened to a held run's step, after looking at the provider",
    details: [
      '--done      the effect is there; --result gives what the operation would have given',
      '--not-done  it is not there: the step is done now, as a new effect (a step that was too late: it runs now)',
      '--undone    what could not be undone was undone by hand; the run ends',
    ].join('\n'),
    examples: [
      'trestle runs settle run_01jd… --step messages.create --not-done',
      `trestle runs settle run_01jd… --step payments.create --done --result '{"id":"129"}'`,
    ],
    options: [
      new Option('--step <name>', 'the step, as "trestle runs show" names it'),
      new Option('--ordinal <n>', 'which of several steps of that name').argParser(
        wholeNumber('ordinal', 1, 1_000_000),
      ),
      new Option('--done', 'the effect is there').conflicts(['notDone', 'undone']),
      new Option('--not-done', 'the effect is not there').conflicts(['undone']),
      new Option('--undone', 'it was undone by hand'),
      new Option('--result <json>', 'with --done: what the operation would have given'),
    ],
    run: (context, [id = ''], options: SettleOptions) =>
      withApi(context, async (api) => {
        const run = runId(id)
        const answer = await api.post('/runs/{id}/settle', {
          params: { id: run },
          body: settlementOf(options),
        })
        context.output.answerJson(answer.json, () => `Taken. ${run} goes on. See: trestle runs show ${run}`)
      }),
  })
}

function settlementOf(options: SettleOptions): unknown {
  const { step, ordinal, done, notDone, undone, result } = options
  if (undone === true) return { as: 'undone' }
  if (done !== true && notDone !== true)
    throw new UsageError('settlement_missing', 'Say what happened: --done, --not-done or --undone.')
  if (step === undefined)
    throw new UsageError(
      'settlement_missing',
      'Say which step with --step NAME; "trestle runs show ID" names it.',
    )
  const which = { step, ...(ordinal === undefined ? {} : { ordinal }) }
  if (notDone === true) return { as: 'not_done', ...which }
  return { as: 'done', ...which, ...(result === undefined ? {} : { result: jsonOf(result, '--result') }) }
}

/** JSON from an option. */
export function jsonOf(text: string, option: string): unknown {
  try {
    return parseJson(text)
  } catch (error) {
    throw new UsageError(
      'option_invalid',
      `${option} is not JSON: ${reasonOf(error)} Write it in single quotes: ${option} '{"id":"1"}'`,
      { cause: error },
    )
  }
}
