import { join } from 'node:path'
import { Agent, request } from 'undici'
import { pause, SECOND, systemClock } from '../../src/base/index.ts'
import type { SignatureScheme } from '../../src/define/index.ts'
import { signPayload } from '../../src/testing/index.ts'
import { openSourceLedger } from '../crash/ledgers.ts'
import type { Sent } from '../crash/sender.ts'
import type { Stage } from './stage.ts'

/** One webhook as it goes over the wire. */
export interface Posted {
  /** What it is a delivery of. */
  readonly of: Sent
  readonly path: string
  readonly scheme: SignatureScheme
  readonly body: string | Buffer
  /** Of this delivery. Where the scheme signs it, it is signed. */
  readonly id: string
  /** Headers that are not signed. */
  readonly headers?: Readonly<Record<string, string>>
}

const ANSWER_WITHIN_MS = 5 * SECOND
const GIVE_UP_MS = 60 * SECOND
const AGAIN_MS = 200

/**
 * Posts each until it gets a 2xx, so many at once, one node after another. Each 2xx is in a synced file before
 * anything is concluded from it.
 */
export async function postAll(
  stage: Stage,
  folder: string,
  posts: Iterable<Posted>,
  atOnce: number,
): Promise<void> {
  const agent = new Agent({ connections: atOnce, pipelining: 1 })
  const ledger = await openSourceLedger(join(folder, 'posted.jsonl'))
  let turn = 0
  const deliver = async (posted: Posted): Promise<void> => {
    const began = systemClock.monotonic()
    while (systemClock.monotonic() - began < GIVE_UP_MS) {
      const node = stage.serving[++turn % stage.serving.length]
      const asked = systemClock.monotonic()
      const status = node && (await post(agent, node.url(), posted, stage.webhookSecret))
      stage.answered(status, systemClock.monotonic() - asked)
      posted.of.attempts++
      if (status !== undefined && status >= 200 && status < 300) {
        await ledger.acknowledged(posted.id, status)
        posted.of.acknowledgedAt ??= systemClock.now()
        return
      }
      await pause(systemClock, AGAIN_MS, { keepAlive: true })
    }
  }
  const waiting = posts[Symbol.iterator]()
  const worker = async (): Promise<void> => {
    for (let next = waiting.next(); next.done !== true; next = waiting.next()) await deliver(next.value)
  }
  try {
    await Promise.all(Array.from({ length: atOnce }, worker))
  } finally {
    await agent.destroy()
    await ledger.close()
  }
}

async function post(
  agent: Agent,
  target: string,
  { path, scheme, body, id, headers }: Posted,
  secret: string,
): Promise<number | undefined> {
  const url = `${target}${path}`
  const signed = signPayload(scheme, { url, body, at: systemClock.now(), id }, [secret])
  try {
    const answer = await request(url, {
      dispatcher: agent,
      method: 'POST',
      headers: { ...signed.headers, ...headers },
      body,
      headersTimeout: ANSWER_WITHIN_MS,
      bodyTimeout: ANSWER_WITHIN_MS,
    })
    await answer.body.dump()
    return answer.statusCode
  } catch {
    return undefined
  }
}
