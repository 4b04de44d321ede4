import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { encodeJson, parseJson, systemClock, type JsonValue } from '../../../src/base/index.ts'
import { createEffectLedger } from '../../../src/testing/twin/effects.ts'
import type { HostileAnswer } from './answers.ts'
import { ROGUE_TOKEN } from './connectors.ts'

/** A system outside that acts as it is asked, and answers the first request for each ref in a hostile way. */
export interface Rogue {
  readonly url: string
  /** How often each answer was played. */
  readonly played: ReadonlyMap<string, number>
  /** When the first one was, by the monotonic clock. */
  firstAt(): number | undefined
  /** What came to it as `extra`, by ref: canonical JSON. */
  readonly received: ReadonlyMap<string, string>
  /** What it had to complain of. */
  readonly complaints: readonly string[]
  /** It answers honestly from now on. */
  behave(): void
  close(): Promise<void>
}

export async function openRogue(answers: readonly HostileAnswer[], witnessFile: string): Promise<Rogue> {
  const effects = createEffectLedger('rogue', witnessFile)
  const seen = new Set<string>()
  const asked = new Set<string>()
  const done = new Map<string, string>()
  const played = new Map<string, number>()
  const received = new Map<string, string>()
  const complaints: string[] = []
  let behaves = false
  let firstAt: number | undefined
  let ids = 0

  function act(kind: string, ref: string, key: string): string {
    const id = `obj_${++ids}`
    effects.note({ kind, key: ref, ref: id, summary: `${kind} ${ref}` }, systemClock.now(), ids)
    done.set(key, id)
    return id
  }

  function play(answer: HostileAnswer, { socket }: IncomingMessage): void {
    firstAt ??= systemClock.monotonic()
    played.set(answer.name, (played.get(answer.name) ?? 0) + 1)
    socket.on('error', () => {})
    answer.play(socket)
  }

  async function serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const body = await bodyOf(request)
    if (request.headers.authorization !== `Bearer ${ROGUE_TOKEN}`)
      complaints.push('a request without its token')
    const url = new URL(request.url!, 'http://rogue')
    const json = (value: object): void =>
      void response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(value))
    if (url.pathname === '/ping') return json({ id: 'ping' })
    if (request.method === 'GET') {
      const ref = url.searchParams.get('ref')!
      const id = done.get(ref)
      // The look-up of a doubt is answered in a hostile way once, too.
      const odd = !behaves && !asked.has(ref) && ids % 2 === 0
      asked.add(ref)
      const found = id === undefined ? [] : [{ id }]
      return odd
        ? void request.socket.end('HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n{"found')
        : json({ found })
    }
    const { ref, form, extra } = parseJson(body) as { ref: string; form: number; extra?: JsonValue }
    received.set(ref, encodeJson(extra))
    const key = String(request.headers['idempotency-key'] ?? ref)
    const honours = url.pathname === '/charges' && request.headers['idempotency-key'] !== undefined
    const known = honours ? done.get(key) : undefined
    const answer = answers[form]
    const isHostile = answer !== undefined && !behaves && !seen.has(ref)
    seen.add(ref)
    const acts = known === undefined && (!isHostile || answer.acts)
    const id = acts ? act(url.pathname.slice(1), ref, key) : (known ?? '')
    return isHostile ? play(answer, request) : json({ id })
  }

  const server = createServer((request, response) => {
    serve(request, response).catch((error: unknown) => {
      complaints.push(String(error))
      request.socket.destroy()
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    played,
    firstAt: () => firstAt,
    received,
    complaints,
    behave() {
      behaves = true
    },
    async close() {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
      effects.close()
    },
  }
}

async function bodyOf(request: IncomingMessage): Promise<Buffer> {
  const parts: Buffer[] = []
  for await (const part of request) parts.push(part as Buffer)
  return Buffer.concat(parts)
}
