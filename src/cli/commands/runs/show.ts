import type { Command } from 'commander'
import colors from 'picocolors'
import { durationWords, type Clock } from '../../../base/index.ts'
import { addCommand } from '../../command.ts'
import { withApi } from '../../withApi.ts'
import { facts } from '../../output.ts'
import { runId } from '../../parse.ts'
import { prettyJson } from '../../prettyJson.ts'
import { timeWords } from '../../times.ts'
import type { AttemptView, RunDetailView, StepView } from '../../views.ts'
import { inLocalTime, stateWords } from '../../words.ts'

/** `trestle runs show`: one run in words. */
export function showRunCommand(runs: Command): void {
  addCommand(runs, {
    usage: 'show <id>',
    summary: 'one run: where it stands, its steps and attempts, and what it waits for',
    examples: ['trestle runs show run_01jd…', 'trestle runs show run_01jd… --json'],
    run: (context, [id = '']) =>
      withApi(context, async (api) => {
        const answer = await api.get('/runs/{id}', { params: { id: runId(id) } })
        context.output.answerJson(answer.json, () => runWords(answer.value as RunDetailView, context.clock))
      }),
  })
}

/** A run as people read it. */
export function runWords(run: RunDetailView, clock: Clock): string {
  const head = facts([
    ['Run', run.id],
    ['Flow', `${run.flow}${run.flowVersion === 1 ? '' : ` version ${run.flowVersion}`}`],
    ['State', stateWords(run.state)],
    [
      'For',
      `${run.event.summary ?? run.event.type} (${run.event.id}${run.event.connection ? ` over ${run.event.connection}` : ''})`,
    ],
    ['Started', timeWords(run.createdAt, clock)],
    ['Ended', run.finishedAt && timeWords(run.finishedAt, clock)],
    ['Lane', run.lane && `${run.lane.key}, place ${run.lane.position}`],
    ['Replay of', run.replayOf],
    ['Replayed by', run.replays.join(', ')],
  ])
  const parts = [
    head,
    inLocalTime(run.inWords, clock),
    `${colors.bold('Steps')}\n${stepsWords(run, clock)}`,
    ...(run.result === undefined ? [] : [`${colors.bold('Result')}\n${prettyJson(run.result)}`]),
  ]
  return parts.join('\n\n')
}

function stepsWords(run: RunDetailView, clock: Clock): string {
  if (run.steps.length === 0) return 'None yet.'
  const lines = run.steps.flatMap((step) => stepLines(step, clock))
  return [...(run.stepsOmitted ? ['… earlier steps are left out'] : []), ...lines].join('\n')
}

const MARKS: Readonly<Record<StepView['state'], string>> = {
  succeeded: colors.green('✓'),
  failed: colors.red('✗'),
  skipped: colors.dim('–'),
  waiting: colors.yellow('…'),
  running: colors.cyan('▸'),
}

function stepLines(step: StepView, clock: Clock): string[] {
  const name = `${step.name}${step.ordinal > 1 ? `#${step.ordinal}` : ''}`
  const what = step.summary !== null && step.summary !== step.name ? `  ${step.summary}` : ''
  const at = step.finishedAt === null ? '' : colors.dim(`  ${timeWords(step.finishedAt, clock)}`)
  const over = step.connection === null ? '' : colors.dim(`  over ${step.connection}`)
  return [
    `  ${MARKS[step.state]} ${name}${what}${over}${at}`,
    ...(step.waits === null ? [] : [`      ${inLocalTime(step.waits.inWords, clock)}.`]),
    ...(step.error === null
      ? []
      : [
          `      ${colors.red(step.error)}${step.errorCode === null ? '' : colors.dim(` (${step.errorCode})`)}`,
        ]),
    ...attemptLines(step.attempts, clock),
  ]
}

/** One attempt that succeeded at once says nothing that the step has not said. */
function attemptLines(attempts: readonly AttemptView[], clock: Clock): string[] {
  if (attempts.length === 1 && attempts[0]!.state === 'succeeded') return []
  return attempts.map((attempt) => {
    const took =
      attempt.finishedAt === null
        ? 'no outcome is known yet'
        : durationWords(Date.parse(attempt.finishedAt) - Date.parse(attempt.begunAt))
    const answered = attempt.status === null ? '' : `, answered ${attempt.status}`
    const why = attempt.reason === null ? '' : `: ${attempt.reason}`
    return colors.dim(
      `      attempt ${attempt.number} at ${timeWords(attempt.begunAt, clock)}, ${took}${answered}, ${(attempt.state ?? 'under way').replace('_', ' ')}${why}`,
    )
  })
}
