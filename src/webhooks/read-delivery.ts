import {
  atPath,
  codeOf,
  JsonError,
  parseJson,
  reasonOf,
  type JsonValue,
  FORM_CONTENT_TYPE,
  FormError,
  parseForm,
} from '../base/index.ts'
import type { IncomingEvent, Settings, WebhookDefinition } from '../define/index.ts'
import type { VerifiedDelivery } from '../inbox/index.ts'
import type { RawHeaders } from './signed-content.ts'

/** What a verified delivery says. */
export type Reading = Pick<VerifiedDelivery, 'parsed' | 'events' | 'contentUnique' | 'quarantine'>

/** Headers that carry credentials, kept out of everything that is stored. */
const CREDENTIAL_HEADERS: ReadonlySet<string> = new Set([
  'authorization',
  'proxy-authorization',
  'cookie',
  'set-cookie',
])

export function withoutCredentials(headers: RawHeaders): RawHeaders {
  return headers.filter(([name]) => !CREDENTIAL_HEADERS.has(name.toLowerCase()))
}

export interface DeliveryToRead {
  /** Lower case, without parameters. */
  readonly contentType: string
  readonly headers: RawHeaders
  readonly body: Buffer
  /** The connection's. */
  readonly settings: Settings
}

/**
 * Reads a body whose signature is good. It never throws: a body that is not what the provider documents gives a
 * reading with `quarantine`, for the provider did send it and would not send it better another time.
 */
export function readDelivery(
  webhooks: WebhookDefinition,
  { contentType, headers, body, settings }: DeliveryToRead,
): Reading {
  let parsed: JsonValue
  try {
    parsed = contentType === FORM_CONTENT_TYPE ? parseForm(body) : parseJson(body)
  } catch (error) {
    return quarantined(undefined, codeOf(error, 'body_unreadable'), pathOf(error), reasonOf(error))
  }
  let events: readonly IncomingEvent[]
  try {
    events = webhooks.events({
      body: parsed,
      // Few connectors look at them.
      get headers() {
        return joinHeaders(headers)
      },
      settings,
    })
  } catch (error) {
    return quarantined(parsed, codeOf(error, 'events_unreadable'), pathOf(error), reasonOf(error))
  }
  const mistake = eventsMistake(events)
  if (mistake !== undefined) return quarantined(parsed, 'events_invalid', mistake.path, mistake.reason)
  return { parsed, events, contentUnique: isContentUnique(webhooks, parsed) }
}

function quarantined(parsed: JsonValue | undefined, code: string, path: string, reason: string): Reading {
  return {
    ...(parsed === undefined ? {} : { parsed }),
    events: [],
    contentUnique: false,
    quarantine: { code, path, reason },
  }
}

function isContentUnique(webhooks: WebhookDefinition, parsed: JsonValue): boolean {
  if (webhooks.contentUniqueBy === undefined) return false
  const value = atPath(parsed, webhooks.contentUniqueBy)
  return value !== undefined && value !== null && value !== ''
}

/**
 * What is wrong with the list of events that a connector returned, or `undefined`. It is authors' code: anything
 * may come back. Whether an event's data is there and fits its schema is judged by the inbox, event by event.
 */
function eventsMistake(
  events: readonly IncomingEvent[],
): { readonly path: string; readonly reason: string } | undefined {
  if (!Array.isArray(events)) {
    silence(events)
    return { path: '', reason: "the connector's webhooks.events() must return a list, and not a promise" }
  }
  const mistakes = (events as readonly unknown[]).map(eventMistake)
  const position = mistakes.findIndex((mistake) => mistake !== undefined)
  if (position === -1) return undefined
  return {
    path: '',
    reason: `event ${position + 1} of the connector's webhooks.events(): ${mistakes[position]!}`,
  }
}

function eventMistake(event: unknown): string | undefined {
  if (typeof event !== 'object' || event === null) return 'it is no object'
  const { type, id, at } = event as { type?: unknown; id?: unknown; at?: unknown }
  if (typeof type !== 'string' || type === '') return 'its type must be text'
  if (id !== undefined && (typeof id !== 'string' || id === '')) return 'its id must be text, or left out'
  if (typeof at !== 'string' || (at !== '' && !at.startsWith('/')))
    return "its at must be a JSON Pointer, such as '/data'"
  return undefined
}

/** A promise that nobody awaits must not end the process when it is rejected. */
function silence(value: unknown): void {
  if (value instanceof Promise) value.catch(() => undefined)
}

function pathOf(error: unknown): string {
  return error instanceof JsonError || error instanceof FormError ? error.path : ''
}

/** Lower-case names, repeated values joined as RFC 9110, 5.3 says. */
function joinHeaders(headers: RawHeaders): Readonly<Record<string, string>> {
  const joined = Object.create(null) as Record<string, string>
  for (const [name, value] of headers) {
    const key = name.toLowerCase()
    joined[key] = joined[key] === undefined ? value : `${joined[key]}, ${value}`
  }
  return joined
}
