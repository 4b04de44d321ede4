import { z } from '@hono/zod-openapi'
import { encodeJson, SECOND, type JsonValue } from '../../base/index.ts'
import type { VerifiedDelivery } from '../../inbox/index.ts'
import type { Connection } from '../../vault/index.ts'
import { pairsOf, readDelivery, withoutCredentials } from '../../webhooks/index.ts'
import type { ApiDeps } from '../deps.ts'
import {
  BATCH,
  cloudEventMistakes,
  PLAIN,
  readCloudEvents,
  STRUCTURED,
  type SentEvents,
} from '../http/cloudEvents.ts'
import { HttpError } from '../http/problem.ts'
import { defineRoute, type AnyRoute, type RouteInput } from '../http/route.ts'
import { connectionFilter } from './schemas.ts'

const EXAMPLE = {
  specversion: '1.0',
  id: 'b5e1',
  source: 'https://example.com/appointments',
  type: 'com.example.appointment.completed',
  time: '2026-11-22T09:00:00Z',
  data: { id: 'apt_1' },
}

const cloudEvent = z
  .looseObject({
    specversion: z.literal('1.0'),
    id: z.string().min(1),
    source: z.string().min(1),
    type: z.string().min(1),
    time: z.iso.datetime({ offset: true }).optional(),
    data: z.unknown().optional(),
  })
  .openapi('CloudEvent')

const emitted = z
  .object({
    deliveryId: z.string(),
    state: z
      .enum(['accepted', 'duplicate'])
      .openapi({ description: 'duplicate: all its events had come before.' }),
    quarantined: z
      .array(z.object({ index: z.int(), deliveryId: z.string(), path: z.string(), reason: z.string() }))
      .openapi({
        description:
          'Events that were kept back because they cannot be read, by their place in the batch. Each is a delivery of its own. What only fails its contract is found with the events.',
      }),
  })
  .openapi('Emitted')

/** From the last byte of the body to the answer, as at a webhook endpoint. */
const ACKNOWLEDGE_LIMIT_MS = 500
/** How long the connections that take events are kept in memory. */
const KNOWN_FOR_MS = 5 * SECOND

type EmitInput = Pick<RouteInput<z.ZodObject, z.ZodObject, z.ZodType>, 'caller' | 'raw'> & {
  readonly query: { readonly connection?: string | undefined }
}

/** Events in, from the business's own software. */
export function emitRoutes(deps: ApiDeps): readonly AnyRoute[] {
  const find = connectionFinder(deps)
  return [
    defineRoute({
      method: 'post',
      path: '/events',
      tag: 'Events',
      needs: { scope: 'events:emit' },
      summary: 'Emit events as CloudEvents 1.0',
      description:
        'One event or a batch, for the connection whose connector takes CloudEvents. Answered once it is committed. The same source and id is the same event, so repeat it after a 503 or where no answer came. An event of a batch that cannot be read is quarantined and fails no other.',
      query: z.strictObject({
        connection: connectionFilter.openapi({
          description: 'Name of the connection, where several take CloudEvents.',
        }),
      }),
      raw: {
        [STRUCTURED]: { schema: cloudEvent, example: EXAMPLE },
        [BATCH]: { schema: z.array(cloudEvent), example: [EXAMPLE] },
        [PLAIN]: { schema: cloudEvent, example: EXAMPLE },
      },
      status: 202,
      result: emitted,
      errors: { 422: 'It is no CloudEvent 1.0, or no connection takes such events.' },
      limitMs: ACKNOWLEDGE_LIMIT_MS,
      answer: (input) => emit(input, find, deps),
    }),
  ]
}

async function emit(
  input: EmitInput,
  find: ReturnType<typeof connectionFinder>,
  { inbox, clock, connectorNamed }: ApiDeps,
): Promise<z.input<typeof emitted>> {
  const { raw, caller, query } = input
  const receivedAt = clock.now()
  const sent = readCloudEvents(raw.contentType, raw.request.headers, raw.bytes)
  const parts = partsOf(sent)
  const connection = await find(caller.tenant, query.connection)
  const deliver = async (
    part: Part,
  ): Promise<{ id: string; state: 'accepted' | 'duplicate'; part: Part }> => {
    const delivery = deliveryOf(part, connection, connectorNamed, input, receivedAt)
    const { deliveryId, state } = await inbox.accept(delivery)
    const { quarantine } = delivery
    const refused = quarantine && { path: quarantine.path, reason: quarantine.reason }
    return { id: deliveryId, state, part: { ...part, refused: part.refused ?? refused } }
  }
  const delivered = await Promise.all(parts.map(deliver))
  const first = delivered[0]!
  return {
    deliveryId: first.id,
    state: first.state,
    quarantined: delivered.flatMap(({ id, part }) =>
      part.refused ? [{ index: part.index, deliveryId: id, ...part.refused }] : [],
    ),
  }
}

/** What becomes one delivery. */
interface Part extends SentEvents {
  /** Place of its first event in what was sent. */
  readonly index: number
  readonly refused?: { readonly path: string; readonly reason: string } | undefined
}

/** All in one delivery; but what is no CloudEvent is kept apart, so that it fails no other. Alone it is 422. */
function partsOf(sent: SentEvents): readonly Part[] {
  if (sent.contentType === STRUCTURED || !Array.isArray(sent.parsed)) {
    const mistakes = cloudEventMistakes(sent.parsed, '')
    if (mistakes.length === 0) return [{ ...sent, index: 0 }]
    throw new HttpError(
      422,
      'cloud_event_invalid',
      `This is no CloudEvent 1.0: ${mistakes.map(({ at, detail }) => `${at} ${detail}`).join(' ')}`,
      { errors: mistakes },
    )
  }
  const judged = sent.parsed.map((value, index) => ({
    value,
    index,
    mistake: cloudEventMistakes(value, '')[0],
  }))
  const bad = judged.filter(({ mistake }) => mistake !== undefined)
  if (bad.length === 0) return [{ ...sent, index: 0 }]
  const good = judged.filter(({ mistake }) => mistake === undefined)
  const apart = bad.map(({ value, index, mistake }): Part => ({
    ...asSent(STRUCTURED, value),
    index,
    refused: { path: mistake!.at, reason: mistake!.detail },
  }))
  if (good.length === 0) return apart
  return [
    {
      ...asSent(
        BATCH,
        good.map(({ value }) => value),
      ),
      index: good[0]!.index,
    },
    ...apart,
  ]
}

function asSent(contentType: SentEvents['contentType'], parsed: JsonValue): SentEvents {
  return { contentType, parsed, body: Buffer.from(encodeJson(parsed)) }
}

function deliveryOf(
  part: Part,
  connection: Connection,
  connectorNamed: ApiDeps['connectorNamed'],
  { caller, raw }: Pick<EmitInput, 'caller' | 'raw'>,
  receivedAt: number,
): VerifiedDelivery {
  const connector = connectorNamed(connection.connector)!
  const headers = withoutCredentials(pairsOf(raw.request.rawHeaders))
  const read = readDelivery(connector.webhooks!, {
    contentType: part.contentType,
    headers,
    body: part.body,
    settings: connection.settings,
  })
  const quarantine = part.refused && { code: 'cloud_event_invalid', ...part.refused }
  return {
    tenant: caller.tenant,
    connectionId: connection.id,
    connectionName: connection.name,
    connector,
    actor: caller.actor,
    headers,
    contentType: part.contentType,
    body: part.body,
    receivedAt,
    ...read,
    ...(quarantine === undefined ? {} : { quarantine, events: [], contentUnique: false }),
  }
}

/** Finds the connection that takes CloudEvents: the one named, or the only one. Throws 404 or 422. */
function connectionFinder({
  vault,
  connectorNamed,
  clock,
}: ApiDeps): (tenant: string, name: string | undefined) => Promise<Connection> {
  const takes = (one: Connection): boolean =>
    one.state !== 'revoked' && connectorNamed(one.connector)?.webhooks?.cloudEvents === true
  const known = new Map<string, { readonly until: number; readonly names: readonly string[] }>()

  async function namesOf(tenant: string): Promise<readonly string[]> {
    const kept = known.get(tenant)
    if (kept && kept.until > clock.now()) return kept.names
    const names = (await vault.listConnections(tenant)).filter(takes).map((one) => one.name)
    if (known.size >= 100) known.clear()
    known.set(tenant, { until: clock.now() + KNOWN_FOR_MS, names })
    return names
  }

  return async (tenant, name) => {
    if (name !== undefined) {
      const named = await vault.loadConnection(tenant, name)
      if (takes(named)) return named
      throw new HttpError(
        422,
        'connection_takes_no_events',
        `The connection "${name}" takes no CloudEvents: its connector must declare webhooks with cloudEvents: true.`,
      )
    }
    const names = await namesOf(tenant)
    if (names.length === 1) return vault.loadConnection(tenant, names[0]!)
    throw names.length === 0
      ? new HttpError(
          422,
          'connection_missing',
          'No connection takes CloudEvents. Add one of a connector that does, such as business-app, to trestle.config.ts.',
        )
      : new HttpError(
          422,
          'connection_ambiguous',
          `Several connections take CloudEvents: ${names.join(', ')}. Say which: ?connection=${names[0]!}`,
        )
  }
}
