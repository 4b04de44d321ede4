import { Option, type Command } from 'commander'
import colors from 'picocolors'
import { EVENT_MOVES } from '../../define/index.ts'
import { addCommand, addGroup, type CommandContext } from '../command.ts'
import { withApi } from '../withApi.ts'
import { facts, table } from '../output.ts'
import { collect, eventId, oneOf, pageOptions, type PageOptions } from '../parse.ts'
import { prettyJson } from '../prettyJson.ts'
import { timeWords } from '../times.ts'
import type { EventDetailView, EventView, PageView } from '../views.ts'
import { moreWords, stateWords } from '../words.ts'
import { replayEventCommand } from './replay.ts'
import { runTable } from './runs/list.ts'

interface ListOptions extends PageOptions {
  readonly state?: readonly string[]
  readonly type?: string
  readonly connection?: string
}

const EVENT_STATES = Object.keys(EVENT_MOVES)

/** `trestle events`: what came in. */
export function addEvents(program: Command): void {
  const events = addGroup(program, 'events', 'what came in')

  addCommand(events, {
    usage: 'list',
    summary: 'the newest events',
    isDefault: true,
    examples: ['trestle events', 'trestle events --state unmatched --connection stripe -n 50'],
    options: [
      ...pageOptions(),
      new Option(
        '--state <state>',
        `only these; may be given several times: ${EVENT_STATES.join(', ')}`,
      ).argParser(collectState),
      new Option('--type <type>', 'only of this type, such as payment_intent.succeeded'),
      new Option('--connection <name>', 'only over this connection'),
    ],
    run: (context, _args, { limit, cursor, state, type, connection }: ListOptions) =>
      withApi(context, async (api) => {
        const answer = await api.get('/events', { query: { limit, cursor, state, type, connection } })
        context.output.answerJson(answer.json, () => eventTable(answer.value as PageView<EventView>, context))
      }),
  })

  addCommand(events, {
    usage: 'show <id>',
    summary: 'one event with its data and its runs',
    examples: ['trestle events show evt_01jd…'],
    run: (context, [id = '']) =>
      withApi(context, async (api) => {
        const answer = await api.get('/events/{id}', { params: { id: eventId(id) } })
        context.output.answerJson(answer.json, () => eventWords(answer.value as EventDetailView, context))
      }),
  })

  replayEventCommand(events)
}

function collectState(text: string, before: readonly string[] | undefined): string[] {
  return collect(oneOf(EVENT_STATES)(text), before)
}

function eventTable(page: PageView<EventView>, { clock }: CommandContext): string {
  return (
    table(
      ['ID', 'RECEIVED', 'CONNECTION', 'TYPE', 'STATE', 'WHAT HAPPENED'],
      page.items.map((event) => [
        event.id,
        timeWords(event.receivedAt, clock),
        event.connection,
        event.type,
        stateWords(event.state),
        [event.summary, event.reason && colors.dim(event.reason)].filter(Boolean).join(' · '),
      ]),
      'There are no events. Send one with: trestle emit TYPE --data {…}',
    ) + moreWords(page)
  )
}

function eventWords(event: EventDetailView, { clock }: CommandContext): string {
  const head = facts([
    ['Event', event.id],
    ['Type', event.type],
    ['State', stateWords(event.state)],
    ['What happened', event.summary],
    ['Connection', event.connection],
    ['Happened', event.occurredAt && timeWords(event.occurredAt, clock)],
    [
      'Received',
      `${timeWords(event.receivedAt, clock)} in ${event.delivery.id} (${event.delivery.bytes} bytes)`,
    ],
    ['Why', event.reason && `${event.reason}${event.reasonPath ? ` (at ${event.reasonPath})` : ''}`],
    [
      'Quarantine',
      event.quarantine && `${event.quarantine}; see: trestle quarantine show ${event.quarantine}`,
    ],
  ])
  const data =
    event.dataUnreadable === null ? prettyJson(event.data) : colors.dim(`unreadable: ${event.dataUnreadable}`)
  return `${head}\n\n${colors.bold('Data')}\n${data}\n\n${colors.bold('Runs')}\n${runTable(event.runs, clock, 'It has no runs: no flow starts on it.')}`
}
