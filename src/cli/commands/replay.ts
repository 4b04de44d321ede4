import { Option, type Command } from 'commander'
import { isId } from '../../base/index.ts'
import { addCommand, type CommandContext } from '../command.ts'
import { withApi } from '../withApi.ts'
import { eventId, runId } from '../parse.ts'
import type { ReplayedView } from '../views.ts'

interface Options {
  readonly repeatEffects?: boolean
  readonly flow?: string
}

const repeatEffects = (): Option =>
  new Option(
    '--repeat-effects',
    'consent to the effects that it repeats; without it they are listed and nothing is done',
  )
const flow = (): Option => new Option('--flow <name>', 'of an event: only this flow')

/** `trestle replay`: a new run, of a run or of an event. */
export function addReplay(program: Command): void {
  addCommand(program, {
    usage: 'replay <id>',
    summary: 'process a run or an event again, as new runs',
    details: 'To let the same run go on without repeating anything, use "trestle runs retry ID".',
    examples: ['trestle replay run_01jd… --repeat-effects', 'trestle replay evt_01jd… --flow first-flow'],
    options: [repeatEffects(), flow()],
    run: (context, [id = ''], options: Options) =>
      isId('evt', id) ? replayEvent(context, id, options) : replayRun(context, id, options),
  })
}

/** `trestle runs replay`. */
export function replayRunCommand(runs: Command): void {
  addCommand(runs, {
    usage: 'replay <id>',
    summary: 'a new run of the same flow for the same event',
    examples: ['trestle runs replay run_01jd… --repeat-effects'],
    options: [repeatEffects()],
    run: (context, [id = ''], options: Options) => replayRun(context, id, options),
  })
}

/** `trestle events replay`. */
export function replayEventCommand(events: Command): void {
  addCommand(events, {
    usage: 'replay <id>',
    summary: 'new runs of every flow that starts on the event today, or of one',
    examples: ['trestle events replay evt_01jd…'],
    options: [repeatEffects(), flow()],
    run: (context, [id = ''], options: Options) => replayEvent(context, id, options),
  })
}

function replayRun(context: CommandContext, text: string, options: Options): Promise<void> {
  const id = runId(text)
  return withApi(context, async (api) => {
    const body = { repeatEffects: options.repeatEffects === true }
    const answer = await api.post('/runs/{id}/replay', { params: { id }, body })
    context.output.answerJson(answer.json, () => replayedWords(answer.value as ReplayedView))
  })
}

function replayEvent(context: CommandContext, text: string, options: Options): Promise<void> {
  const id = eventId(text)
  return withApi(context, async (api) => {
    const body = {
      repeatEffects: options.repeatEffects === true,
      ...(options.flow === undefined ? {} : { flow: options.flow }),
    }
    const answer = await api.post('/events/{id}/replay', { params: { id }, body })
    context.output.answerJson(answer.json, () => replayedWords(answer.value as ReplayedView))
  })
}

function replayedWords({ runs, effects }: ReplayedView): string {
  const made =
    runs.length === 1
      ? `A new run was made: ${runs[0]}`
      : `${runs.length} new runs were made:\n  ${runs.join('\n  ')}`
  const repeats = effects.map((effect) => `\n  ${effect.summary}`).join('')
  return effects.length === 0 ? made : `${made}\nIt repeats:${repeats}`
}
