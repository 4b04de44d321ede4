import { Option, type Command } from 'commander'
import colors from 'picocolors'
import { reasonOf, parseJson } from '../../base/index.ts'
import { addCommand, addGroup, type CommandContext } from '../command.ts'
import { withApi } from '../withApi.ts'
import { facts, table } from '../output.ts'
import { oneOf, pageOptions, quarantineId, type PageOptions } from '../parse.ts'
import { prettyJson } from '../prettyJson.ts'
import { timeWords } from '../times.ts'
import type { PageView, QuarantinedView } from '../views.ts'
import { moreWords, stateWords } from '../words.ts'

interface ListOptions extends PageOptions {
  readonly state: string
}

const STATES = ['quarantined', 'released', 'discarded']

/** `trestle quarantine`: what was kept back because its shape cannot be trusted. */
export function addQuarantine(program: Command): void {
  const quarantine = addGroup(program, 'quarantine', 'events and answers whose shape cannot be trusted')

  addCommand(quarantine, {
    usage: 'list',
    summary: 'what waits for a person to release or discard it',
    isDefault: true,
    examples: ['trestle quarantine', 'trestle quarantine list --state released'],
    options: [
      ...pageOptions(),
      new Option('--state <state>', `one of ${STATES.join(', ')}`)
        .argParser(oneOf(STATES))
        .default('quarantined'),
    ],
    run: (context, _args, { limit, cursor, state }: ListOptions) =>
      withApi(context, async (api) => {
        const answer = await api.get('/quarantine', { query: { limit, cursor, state } })
        context.output.answerJson(answer.json, () =>
          listWords(answer.value as PageView<QuarantinedView>, context),
        )
      }),
  })

  addCommand(quarantine, {
    usage: 'show <id>',
    summary: 'one of them, with what came',
    examples: ['trestle quarantine show qrn_01jd…'],
    run: (context, [id = '']) =>
      withApi(context, async (api) => {
        const answer = await api.get('/quarantine/{id}', { params: { id: quarantineId(id) } })
        context.output.answerJson(answer.json, () => showWords(answer.value as QuarantinedView, context))
      }),
  })

  addCommand(quarantine, {
    usage: 'release <id>',
    summary: 'let it pass: an event is read again and dispatched, an answer passes as it is',
    examples: ['trestle quarantine release qrn_01jd…'],
    run: (context, [id = '']) =>
      withApi(context, async (api) => {
        const answer = await api.post('/quarantine/{id}/release', { params: { id: quarantineId(id) } })
        const { runs } = answer.value as { readonly runs: readonly string[] }
        context.output.answerJson(answer.json, () =>
          runs.length === 0
            ? `${id} is released. No flow starts on it.`
            : `${id} is released. Runs: ${runs.join(', ')}`,
        )
      }),
  })

  addCommand(quarantine, {
    usage: 'discard <id>',
    summary: 'it never passes: an event is discarded, the step that waits for an answer fails',
    examples: ['trestle quarantine discard qrn_01jd…'],
    run: (context, [id = '']) =>
      withApi(context, async (api) => {
        const answer = await api.post('/quarantine/{id}/discard', { params: { id: quarantineId(id) } })
        context.output.answerJson(answer.json, () => `${id} is discarded.`)
      }),
  })
}

function listWords(page: PageView<QuarantinedView>, { clock }: CommandContext): string {
  return (
    table(
      ['ID', 'SINCE', 'WHAT', 'CONNECTION', 'AT', 'WHY'],
      page.items.map((one) => [
        one.id,
        timeWords(one.createdAt, clock),
        one.kind === 'event' ? 'event' : `answer of ${one.operation}`,
        one.connection,
        one.path === '' ? 'the whole' : one.path,
        one.reason,
      ]),
      'Nothing is quarantined.',
    ) + moreWords(page)
  )
}

function showWords(one: QuarantinedView, { clock }: CommandContext): string {
  const head = facts([
    ['Id', one.id],
    ['What', one.kind === 'event' ? `event ${one.eventId}` : `answer of ${one.operation}`],
    ['State', stateWords(one.state)],
    ['Why', one.reason],
    ['At', one.path === '' ? 'the whole' : one.path],
    ['Connection', one.connection],
    ['Run', one.runId && `${one.runId}, step ${one.step?.name}`],
    ['Since', timeWords(one.createdAt, clock)],
    ['Settled', one.settledAt && `${timeWords(one.settledAt, clock)} by ${one.settledBy}`],
  ])
  const next =
    one.state === 'quarantined'
      ? `\n\nLet it pass: trestle quarantine release ${one.id}\nNever let it pass: trestle quarantine discard ${one.id}`
      : ''
  return `${head}\n\n${colors.bold('What came')}\n${payloadWords(one)}${next}`
}

function payloadWords({ payload }: QuarantinedView): string {
  if (!payload) return colors.dim('nothing')
  if (payload.text === undefined) return `${payload.base64} ${colors.dim('(base64: it is no UTF-8 text)')}`
  try {
    return prettyJson(parseJson(payload.text))
  } catch (error) {
    return `${payload.text}\n${colors.dim(reasonOf(error))}`
  }
}
