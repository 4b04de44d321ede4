import { appendFileSync } from 'node:fs'
import { subscribe } from 'node:diagnostics_channel'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { DAY, systemClock } from '../../src/base/index.ts'
import {
  createKeyStore,
  createLaggingIndex,
  createTwin,
  route,
  type TwinRequest,
} from '../../src/testing/index.ts'
import { readChildOptions, tellParent } from './child.ts'

/**
 * Acme itself, in a process of its own, so that it goes on whatever happens to the platform. Every effect is on disk
 * in the witness file before its answer leaves.
 */
export interface ProviderOptions {
  readonly witnessFile: string
  /** Takes a line for each request that was cut off, and for each that was refused. */
  readonly troublesFile: string
}

export interface ProviderReady {
  readonly as: 'ready'
  readonly url: string
  readonly pid: number
}

const INDEX_LAG_MS = 100

const { witnessFile, troublesFile } = readChildOptions() as ProviderOptions
const keys = createKeyStore({
  clock: systemClock,
  lifetimeMs: DAY,
  onMismatch: () => ({ status: 400, json: { error: 'key_reused' } }),
  onInFlight: () => ({ status: 409, json: { error: 'in_flight' } }),
})
const notes = createLaggingIndex<{ id: string; ref: string }>({ clock: systemClock, lagMs: INDEX_LAG_MS })

function act(request: TwinRequest<undefined>, kind: string): { id: string; ref: string } {
  const { ref } = request.json as { ref: string }
  const id = twin.newId('obj_')
  request.effect({ kind, key: ref, ref: id, summary: `${kind} ${ref}` })
  return { id, ref }
}

const twin = createTwin<undefined>({
  name: 'acme',
  state: undefined,
  witnessFile,
  requestLogLimit: 100,
  routes: [
    route('POST', '/charges', (request) =>
      keys.once(request, request.headers['idempotency-key'], () => ({
        status: 200,
        json: act(request, 'charge.created'),
      })),
    ),
    route('POST', '/notes', (request) => {
      const note = act(request, 'note.created')
      notes.put(note.id, note)
      return { status: 200, json: note }
    }),
    route('GET', '/notes', (request) => {
      const ref = request.query.get('ref')
      return { status: 200, json: { found: notes.search((note) => note.ref === ref) } }
    }),
    route('GET', '/ping', () => ({ status: 200, json: { id: 'ping' } })),
    route('POST', '/texts', (request) => ({ status: 200, json: act(request, 'text.sent') })),
  ],
})

subscribe('http.server.request.start', (said) => {
  const { request, response } = said as { request: IncomingMessage; response: ServerResponse }
  response.once('close', () => {
    const what = response.writableFinished ? response.statusCode : 'cut off'
    if (what === 'cut off' || what >= 400)
      appendFileSync(troublesFile, `${request.method} ${request.url}: ${what}\n`)
  })
})

tellParent({ as: 'ready', url: await twin.start(), pid: process.pid } satisfies ProviderReady)
