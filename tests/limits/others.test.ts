/** Limits that no test beside the code meets. */
import { execFile } from 'node:child_process'
import { createHmac } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { expect, it } from 'vitest'
import { compileEntries } from '../crash/build.ts'
import { createFakeClock } from '../../src/testing/index.ts'
import { createGroupCommit } from '../../src/db/groupCommit.ts'
import { signatureSchemes } from '../../src/define/index.ts'
import { MOST_CONNECTIONS, RetryBudgets } from '../../src/flows/retryBudgets.ts'
import { stripe } from '../../connectors/stripe/index.ts'
import { JSON_DEPTH_LIMIT, parseJson } from '../../src/base/index.ts'
import { MOST_REDACTORS, Redactors } from '../../src/calls/redaction.ts'
import { BREAKER_POLICY, RETRY_BUDGET } from '../../src/resilience/index.ts'
import { counted, unknownHealth, verdictOf } from '../../src/resilience/health.ts'
import { MOST_WEBHOOK_SECRETS, planConnection } from '../../src/vault/plan.ts'
import { within } from '../../src/server/http/deadline.ts'
import { ANSWER_LIMIT_MS } from '../../src/server/http/route.ts'
import { SIGNATURES_LIMIT, verifySignature } from '../../src/webhooks/verify.ts'

it('signatures beyond the number that is read are not read', () => {
  const now = 1_795_338_000_000
  const body = Buffer.from('{}')
  const id = 'msg_1'
  const time = String(now / 1000)
  const good = `v1,${createHmac('sha256', Buffer.from('c2VjcmV0', 'base64')).update(`${id}.${time}.{}`).digest('base64')}`
  const bad = `v1,${'A'.repeat(43)}=`
  const ok = (before: number): boolean =>
    verifySignature(
      signatureSchemes.standardWebhooks,
      {
        method: 'POST',
        url: 'http://localhost/webhooks/x',
        headers: [
          ['webhook-id', id],
          ['webhook-timestamp', time],
          ['webhook-signature', [...Array.from({ length: before }, () => bad), good].join(' ')],
        ],
        body,
      },
      ['whsec_c2VjcmV0'],
      now,
    ).ok
  expect([ok(SIGNATURES_LIMIT - 1), ok(SIGNATURES_LIMIT)]).toEqual([true, false])
})

it('writes beyond those that may wait are refused as overloaded', async () => {
  let letGo = (): void => {}
  const gate = new Promise<void>((resolve) => (letGo = resolve))
  const batches: number[] = []
  const commit = createGroupCommit<number, number>({
    key: () => '',
    most: 3,
    lanes: 1,
    waiting: 5,
    flush: async (batch) => {
      batches.push(batch.length)
      await gate
      return batch
    },
  })
  const first = commit.add(0)
  // One turn of the event loop: the first is under way, and waits no more.
  await new Promise((resolve) => setImmediate(resolve))
  await new Promise((resolve) => setImmediate(resolve))
  const waiting = [1, 2, 3, 4, 5].map((n) => commit.add(n))
  await expect(commit.add(6)).rejects.toMatchObject({ code: 'overloaded' })
  letGo()
  expect(await Promise.all([first, ...waiting])).toEqual([0, 1, 2, 3, 4, 5])
  expect(batches).toEqual([1, 3, 2])
})

it('a transaction takes no more writes and bytes than it may; what is larger stands alone', async () => {
  const batches: number[][] = []
  const commit = createGroupCommit<number, void>({
    key: () => '',
    bytes: (bytes) => bytes,
    mostBytes: 10,
    most: 3,
    lanes: 1,
    flush: (batch) => {
      batches.push([...batch])
      return Promise.resolve(batch.map(() => undefined))
    },
  })
  await Promise.all([1, 1, 1, 1, 6, 6, 25, 2].map((bytes) => commit.add(bytes)))
  expect(batches).toEqual([[1, 1, 1], [1, 6], [6], [25], [2]])
})

it('retries of a connection beyond its share are deferred, and more come with first attempts and time', () => {
  const clock = createFakeClock()
  const budgets = new RetryBudgets(clock)
  const connection = { tenant: 'default', id: 'con_1' }
  const failed = { as: 'failed', retryable: true, newKey: false, code: 'x', reason: 'x' } as const
  const retry = (): boolean => {
    const may = budgets.heldUntil(connection) === undefined
    if (may) budgets.made(connection, true, failed)
    return may
  }
  const made = (): number => {
    let count = 0
    while (retry()) count++
    return count
  }
  expect(made()).toBe(RETRY_BUDGET.burst)
  for (let i = 0; i < 25; i++) budgets.made(connection, false, failed)
  expect(made()).toBe(25 * RETRY_BUDGET.share)
  clock.set(clock.now() + 3_000)
  expect(made()).toBe(3 * RETRY_BUDGET.perSecond)
  // Those that wait come back one after another.
  const untils = [1, 2, 3].map(() => budgets.heldUntil(connection)! - clock.now())
  expect(untils[1]! - untils[0]!).toBe(RETRY_BUDGET.askEveryMs)
  expect(untils[2]! - untils[1]!).toBe(RETRY_BUDGET.askEveryMs)
  // One that the provider takes costs nothing.
  clock.set(clock.now() + 1_000)
  for (let i = 0; i < 50; i++) {
    expect(budgets.heldUntil(connection)).toBeUndefined()
    budgets.made(connection, true, { as: 'not_found', exchange: {} as never })
  }
})

it('retry budgets beyond the number that is kept in memory begin anew, the longest unused first', () => {
  const budgets = new RetryBudgets(createFakeClock())
  const of = (n: number) => ({ tenant: 'default', id: `con_${n}` })
  for (let n = 0; n <= MOST_CONNECTIONS; n++) budgets.heldUntil(of(n))
  expect(budgets.size).toBe(MOST_CONNECTIONS)
})

it('more webhook secrets than a connection may have are refused', () => {
  const problemsWith = (count: number): readonly string[] => {
    const webhookSecrets = Array.from({ length: count }, (_, i) => `whsec_${i}`)
    const planned = planConnection('stripe', stripe.connect({ secrets: { token: 't' }, webhookSecrets }), {})
    return planned.problems
  }
  expect(problemsWith(MOST_WEBHOOK_SECRETS)).toEqual([])
  expect(problemsWith(MOST_WEBHOOK_SECRETS + 1)).toEqual([
    expect.stringContaining(`more than ${MOST_WEBHOOK_SECRETS} webhook secrets`),
  ])
})

it('JSON nested deeper than the limit is refused, and at the limit read', () => {
  const nested = (depth: number): Buffer => Buffer.from('['.repeat(depth) + ']'.repeat(depth))
  expect(() => parseJson(nested(JSON_DEPTH_LIMIT))).not.toThrow()
  expect(() => parseJson(nested(JSON_DEPTH_LIMIT + 1))).toThrow(
    expect.objectContaining({ code: 'json_too_deep' }),
  )
})

it('failures beyond the share open a breaker, and below it do not', () => {
  const { minimumResults, failureShare } = BREAKER_POLICY
  const verdictAfter = (failures: number, all: number) => {
    let health = unknownHealth
    for (let i = 0; i < all; i++)
      health = counted(health, BREAKER_POLICY, i < failures ? 'failure' : 'success', 1_795_338_000_000)
    return verdictOf(health, BREAKER_POLICY, 1_795_338_000_000)
  }
  expect(verdictAfter(minimumResults - 1, minimumResults - 1)).toBe('healthy')
  expect(verdictAfter(minimumResults * failureShare, minimumResults)).toBe('failing')
  expect(verdictAfter(minimumResults * failureShare - 1, minimumResults)).toBe('healthy')
})

it('redactors beyond the number that is kept are made again', async () => {
  let made = 0
  const redactors = new Redactors(() => Promise.resolve([`secret ${++made}`]))
  const of = (operation: number) =>
    redactors.of(
      {
        connection: { tenant: 'default', id: 'con_1' },
        operation: {},
        operationName: `o${operation}`,
      } as unknown as Parameters<typeof redactors.of>[0],
      { credentialVersion: '1', secretHeaders: [], headers: {} } as unknown as Parameters<
        typeof redactors.of
      >[1],
    )
  for (let i = 0; i <= MOST_REDACTORS; i++) await of(i)
  await of(MOST_REDACTORS)
  expect(made).toBe(MOST_REDACTORS + 1)
  await of(0)
  expect(made).toBe(MOST_REDACTORS + 2)
})

it('an answer of the API that takes too long is 503', async () => {
  const clock = createFakeClock()
  const answer = within(clock, ANSWER_LIMIT_MS, 'The listing', new Promise(() => {}))
  const caught = answer.catch((error: unknown) => error)
  await clock.advance(ANSWER_LIMIT_MS)
  expect(await caught).toMatchObject({ code: 'deadline_exceeded' })
})

it('a flow that blocks the event loop ends its node, which names the run', async () => {
  const entries = await compileEntries()
  const script = join(entries, 'blocked.mjs')
  await writeFile(
    script,
    `import { startWatchdog } from '../../src/runtime/watchdog.js'
     startWatchdog('postgres://nobody@127.0.0.1:1/none', 1500).entering('run_endless')
     setTimeout(() => { for (;;); }, 300)`,
  )
  const ended = await promisify(execFile)(process.execPath, [script]).then(
    () => ({ signal: null, stderr: '' }),
    (error: { signal: string | null; stderr: string }) => error,
  )
  expect(ended.signal).toBe('SIGKILL')
  expect(ended.stderr).toContain('in run run_endless: this node ends')
})
