import { readFile } from 'node:fs/promises'
import { Option, type Command } from 'commander'
import {
  encodeJson,
  parseJson,
  reasonOf,
  systemRandom,
  UsageError,
  type JsonValue,
} from '../../base/index.ts'
import { addCommand } from '../command.ts'
import { applyConfiguration } from '../applyConfiguration.ts'
import type { LocalApi } from '../localApi.ts'
import { withApi } from '../withApi.ts'
import { terminal } from '../secrets/prompt.ts'
import { readAll } from '../secrets/sources.ts'
import type { EventDetailView, EventView, PageView } from '../views.ts'

interface Options {
  readonly data: string
  readonly source: string
  readonly id?: string
  readonly connection?: string
  readonly time?: string
}

interface Emitted {
  readonly deliveryId: string
  readonly state: 'accepted' | 'duplicate'
}

/** `trestle emit`: an event as the business's own app would send it. */
export function addEmit(program: Command): void {
  addCommand(program, {
    usage: 'emit <type>',
    summary: "send an event, as the business's own app would",
    details: [
      'The event is a CloudEvent 1.0, as at POST /api/v1/events. It is committed to the inbox directly, so that no server',
      'needs to run; its flows run as soon as one does. The same --source and --id is the same event and is taken once.',
    ].join('\n'),
    examples: [
      'trestle emit appointment.completed --data @events/appointment-completed.json',
      `trestle emit appointment.booked --id apt_1-booked --data '{"id":"apt_1", …}'`,
      'cat event.json | trestle emit appointment.booked --data -',
    ],
    options: [
      new Option('-d, --data <json>', "the event's data: JSON, @FILE, or - for stdin").default('{}'),
      new Option('--source <uri>', 'where it comes from').default('urn:trestle:cli'),
      new Option('--id <id>', 'its id, unique within the source; by default a new one'),
      new Option('--time <iso>', 'when it happened, such as 2026-11-22T09:00:00Z; by default it is not said'),
      new Option('--connection <name>', 'which connection it comes over, where several take such events'),
    ],
    run: (context, [type = ''], options: Options) =>
      withApi(context, async (api, session) => {
        const data = await readData(options.data)
        await applyConfiguration(session)
        const id = options.id ?? systemRandom.bytes(12).toString('hex')
        const event = {
          specversion: '1.0',
          id,
          source: options.source,
          type,
          ...(options.time === undefined ? {} : { time: options.time }),
          data,
        }
        const answer = await api.post('/events', {
          query: { connection: options.connection },
          raw: { contentType: 'application/cloudevents+json', bytes: Buffer.from(encodeJson(event)) },
        })
        const emitted = answer.value as Emitted
        const found = await eventOf(api, emitted.deliveryId)
        context.output.answer({ ...emitted, id, source: options.source, event: found ?? null }, () =>
          emittedWords(emitted, found, options),
        )
      }),
  })
}

/** JSON from the option itself, from a file, or from stdin. */
async function readData(given: string): Promise<JsonValue> {
  const from = given === '-' ? 'stdin' : given.startsWith('@') ? given.slice(1) : '--data'
  const text =
    given === '-'
      ? await readAll(terminal.input)
      : given.startsWith('@')
        ? await readFile(given.slice(1), 'utf8').catch((cause: NodeJS.ErrnoException) => {
            throw new UsageError(
              'data_unreadable',
              `The file ${given.slice(1)} cannot be read (${cause.code}).`,
              {
                cause,
              },
            )
          })
        : given
  try {
    return parseJson(text)
  } catch (cause) {
    throw new UsageError(
      'data_invalid',
      `The data (${from}) is no JSON: ${reasonOf(cause).replace('The body is not valid JSON: ', '')}. Write --data '{"id":"1"}', --data @FILE or --data -.`,
      { cause },
    )
  }
}

async function eventOf(api: LocalApi, delivery: string): Promise<EventDetailView | undefined> {
  const shown = await api.get('/deliveries/{id}', { params: { id: delivery } })
  const [first] = (shown.value as { readonly events: PageView<EventView>['items'] }).events
  if (first === undefined) return undefined
  return (await api.get('/events/{id}', { params: { id: first.id } })).value as EventDetailView
}

function emittedWords(emitted: Emitted, event: EventDetailView | undefined, { source, id }: Options): string {
  if (emitted.state === 'duplicate')
    return `This event came before (source ${source}, id ${id}): nothing was done. Give another --id for another event.`
  if (event === undefined) return `Taken as delivery ${emitted.deliveryId}.`
  const taken = `Taken: ${event.summary ?? event.type} (${event.id}).`
  switch (event.state) {
    case 'quarantined':
      return `${taken}\nIt is quarantined: ${event.reason}${event.reasonPath ? ` (at ${event.reasonPath})` : ''}\nSee: trestle quarantine show ${event.quarantine}`
    case 'unmatched':
      return `${taken}\nNo flow starts on "${event.type}", so it is kept as unmatched. Add a flow, then: trestle replay ${event.id}`
    default:
      return `${taken}\nRuns: ${event.runs.map((run) => `${run.id} (${run.flow})`).join(', ')}\nSee: trestle runs show ${event.runs[0]?.id ?? ''}`
  }
}
