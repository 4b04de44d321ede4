import { Option, type Command } from 'commander'
import colors from 'picocolors'
import { addCommand, addGroup, type CommandContext } from '../command.ts'
import { facts, table } from '../output.ts'
import { incidentId, oneOf, pageOptions, type PageOptions } from '../parse.ts'
import { timeWords } from '../times.ts'
import type { IncidentDetailView, IncidentView, PageView } from '../views.ts'
import { withApi } from '../withApi.ts'
import { inLocalTime, moreWords, stateWords } from '../words.ts'

interface ListOptions extends PageOptions {
  readonly state?: string
  readonly all?: boolean
}

const STATES = ['open', 'acknowledged', 'resolved']
const TOLD_OF: Readonly<Record<string, string>> = {
  opened: 'the opening',
  reminded: 'that it is there still',
  resolved: 'the end',
}
const NOT_OVER = ['open', 'acknowledged']

/** `trestle incidents`: what is wrong, since when, what it holds up and what to do. */
export function addIncidents(program: Command): void {
  const incidents = addGroup(program, 'incidents', 'what is wrong, since when, and what to do')

  addCommand(incidents, {
    usage: 'list',
    summary: 'incidents that are not over, newest first',
    isDefault: true,
    examples: [
      'trestle incidents',
      'trestle incidents list --all',
      'trestle incidents list --state resolved',
    ],
    options: [
      ...pageOptions(),
      new Option('--state <state>', `one of ${STATES.join(', ')}`).argParser(oneOf(STATES)),
      new Option('--all', 'those that are over too'),
    ],
    run: (context, _args, { limit, cursor, state, all }: ListOptions) =>
      withApi(context, async (api) => {
        const states = state === undefined ? (all ? undefined : NOT_OVER) : [state]
        const answer = await api.get('/incidents', { query: { limit, cursor, state: states } })
        context.output.answerJson(answer.json, () =>
          listWords(answer.value as PageView<IncidentView>, context),
        )
      }),
  })

  addCommand(incidents, {
    usage: 'show <id>',
    summary: 'one of them, with who was told and what the ledger says',
    examples: ['trestle incidents show inc_01jd…'],
    run: (context, [id = '']) =>
      withApi(context, async (api) => {
        const answer = await api.get('/incidents/{id}', { params: { id: incidentId(id) } })
        context.output.answerJson(answer.json, () => showWords(answer.value as IncidentDetailView, context))
      }),
  })

  addCommand(incidents, {
    usage: 'ack <id>',
    summary: 'you take care of it; it stays until it is over',
    examples: ['trestle incidents ack inc_01jd…'],
    run: (context, [id = '']) =>
      withApi(context, async (api) => {
        const answer = await api.post('/incidents/{id}/acknowledge', { params: { id: incidentId(id) } })
        context.output.answerJson(answer.json, () => `${id} is acknowledged. It stays until it is over.`)
      }),
  })
}

function listWords(page: PageView<IncidentView>, { clock }: CommandContext): string {
  return (
    table(
      ['ID', 'SINCE', 'STATE', 'WHAT'],
      page.items.map((one) => [one.id, timeWords(one.since, clock), stateWords(one.state), one.title]),
      'Nothing is wrong.',
    ) + moreWords(page)
  )
}

function showWords(one: IncidentDetailView, { clock }: CommandContext): string {
  const words = (text: string): string => inLocalTime(text, clock)
  const head = facts([
    ['Id', one.id],
    ['State', stateWords(one.state)],
    ['What', words(one.what)],
    ['Since', timeWords(one.since, clock)],
    ['Holds up', words(one.holdsUp)],
    ['What to do', words(one.todo)],
    ['Connection', one.connection],
    ['Flow', one.flow],
    [
      'Acknowledged',
      one.acknowledgedAt && `${timeWords(one.acknowledgedAt, clock)} by ${one.acknowledgedBy}`,
    ],
    ['Over', one.resolvedAt && `${timeWords(one.resolvedAt, clock)}: ${one.resolution}`],
  ])
  const told = table(
    ['TOLD BY', 'OF', 'STATE', 'AT', 'ATTEMPTS', 'LAST ERROR'],
    one.alerts.map((alert) => [
      alert.channel,
      TOLD_OF[alert.change] ?? alert.change,
      stateWords(alert.state),
      timeWords(alert.settledAt ?? alert.dueAt ?? one.openedAt, clock),
      alert.attempts,
      alert.lastError,
    ]),
    'Nobody was told: the configuration has no "alerts".',
  )
  const entries = table(
    ['AT', 'WHO', 'DID', 'OUTCOME'],
    one.entries.map((entry) => [
      timeWords(entry.at, clock),
      entry.actor,
      entry.action,
      stateWords(entry.outcome),
    ]),
    'The ledger keeps nothing of it any more.',
  )
  const next = one.state === 'open' ? `\n\nTake care of it: trestle incidents ack ${one.id}` : ''
  return `${head}\n\n${told}\n\n${colors.bold('In the ledger')}\n${entries}${next}`
}
