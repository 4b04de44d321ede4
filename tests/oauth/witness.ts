import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { createServer, request as ask, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { pause, seededRandom, systemClock } from '../../src/base/index.ts'
import { openJournal } from './journal.ts'

/** What the witness writes down, each on disk before anything follows from it. Times in ms since 1970. */
export type WitnessLine =
  | {
      readonly as: 'asked'
      readonly number: number
      readonly at: number
      readonly connection: string
      readonly node: string
      /** A digest of the refresh token that came. */
      readonly token: string
      readonly slow: 'not' | 'before' | 'after'
    }
  /** Who asked was gone before the question was handed on: the server never heard of it. */
  | { readonly as: 'withdrawn'; readonly number: number; readonly at: number }
  /** By the authorization server. Nothing of it has left here yet. */
  | { readonly as: 'answered'; readonly number: number; readonly at: number; readonly status: number }
  /** `whole`: the answer went into a connection that was open to its end. */
  | { readonly as: 'handed'; readonly number: number; readonly at: number; readonly whole: boolean }

/** Where a question is: it has come and was not handed on; it is answered, and the answer has not left yet. */
export type Place = 'asked' | 'answered'

export interface Question {
  readonly connection: string
  readonly node: string
}

export interface WitnessOptions {
  readonly target: string
  readonly file: string
  readonly seed: string
  /** How long one question of six takes. */
  readonly slowMs: number
  /** Told at each place, and waited for: the time to kill who asked. */
  readonly atPlace: (place: Place, question: Question) => Promise<void> | void
  /** Told of each grant that was renewed. */
  readonly onRenewed: (connection: string) => void
}

/**
 * Stands between the nodes and the token endpoint, makes it slow, and writes down what it was asked and what it
 * answered. Paths begin with the connection's name: `/C/token`.
 */
export interface Witness {
  readonly url: string
  close(): Promise<void>
}

export async function openWitness(options: WitnessOptions): Promise<Witness> {
  const { slowMs, atPlace } = options
  const random = seededRandom(`${options.seed} slow`)
  const journal = openJournal<WitnessLine>(options.file)
  let numbers = 0

  async function witness(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const [, connection = '', ...path] = request.url!.split('/')
    const body = await bodyOf(request)
    const number = ++numbers
    const at = (): number => systemClock.now()
    const node = String(request.headers['x-node'] ?? '')
    const token = digestOf(new URLSearchParams(body.toString()).get('refresh_token') ?? '')
    const slow = random.next() >= 1 / 6 ? 'not' : random.next() < 0.5 ? 'before' : 'after'
    journal.synced({ as: 'asked', number, at: at(), connection, node, token, slow })

    await atPlace('asked', { connection, node })
    if (slow === 'before') await pauseOrGone(slowMs, request)
    if (request.socket.destroyed) return journal.synced({ as: 'withdrawn', number, at: at() })
    const answer = await handOn(options.target, `/${path.join('/')}`, request, body)
    journal.synced({ as: 'answered', number, at: at(), status: answer.status })
    if (answer.status === 200) options.onRenewed(connection)

    await atPlace('answered', { connection, node })
    if (slow === 'after') await pauseOrGone(slowMs, request)
    const closed = once(response, 'close')
    response.writeHead(answer.status, { 'content-type': answer.type }).end(answer.body)
    if (!response.destroyed) await closed
    journal.synced({ as: 'handed', number, at: at(), whole: response.writableFinished })
  }

  const server = createServer((request, response) => {
    witness(request, response).catch(() => request.socket.destroy())
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    async close() {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
      journal.close()
    },
  }
}

function digestOf(token: string): string {
  return createHash('sha256').update(token).digest('hex').slice(0, 12)
}

/** The time, or until who asked is gone. */
async function pauseOrGone(ms: number, { socket }: IncomingMessage): Promise<void> {
  if (socket.destroyed) return
  const over = new AbortController()
  const gone = once(socket, 'close', { signal: over.signal }).catch(() => undefined)
  await Promise.race([pause(systemClock, ms, { keepAlive: true }), gone])
  over.abort()
}

async function bodyOf(request: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = []
  for await (const chunk of request) chunks.push(chunk as Buffer)
  return Buffer.concat(chunks)
}

interface Answer {
  readonly status: number
  readonly body: Buffer
  readonly type: string
}

function handOn(target: string, path: string, given: IncomingMessage, body: Buffer): Promise<Answer> {
  const { authorization, 'content-type': type } = given.headers
  return new Promise((resolve) => {
    const failed = (): void => resolve({ status: 502, body: Buffer.alloc(0), type: 'text/plain' })
    const sent = ask(
      target + path,
      {
        method: given.method,
        headers: {
          ...(authorization === undefined ? {} : { authorization }),
          ...(type === undefined ? {} : { 'content-type': type }),
          'content-length': body.length,
        },
      },
      (answer) =>
        void bodyOf(answer).then(
          (bytes) =>
            resolve({
              status: answer.statusCode ?? 502,
              body: bytes,
              type: answer.headers['content-type'] ?? 'text/plain',
            }),
          failed,
        ),
    )
    sent.once('error', failed)
    sent.end(body)
  })
}
