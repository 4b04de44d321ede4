import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, openSync, readFileSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { pause, SECOND, systemClock, systemRandom } from '../../src/base/index.ts'
import type { EmbeddedPostgres } from '../../src/db/embedded/index.ts'
import { settle, statesOf } from '../crash/campaign.ts'
import { effectsOf } from '../crash/flows.ts'
import { judge, unfinished, type Violation } from '../crash/invariant.ts'
import { errands, type Errand } from '../crash/load.ts'
import { openSurroundings, type Surroundings } from '../crash/surroundings.ts'
import { until } from '../crash/underLoad.ts'

export interface RollingOptions {
  readonly seed: string
  readonly folder: string
  /** Where the compiled sources of the crash tests are. */
  readonly entries: string
  readonly postgres: EmbeddedPostgres
  /** Deliveries a second, about. */
  readonly rate: number
  /** Kills the old nodes instead of asking them to stop: what that breaks must be seen. */
  readonly rudely?: boolean
}

export interface RollingReport {
  readonly deliveries: number
  /** Whatever a sender got that is not 2xx, in words: another status, no answer, no connection, nobody who was ready. */
  readonly seen: readonly string[]
  /** What the provider saw: requests that were cut off, and that it refused. */
  readonly troubles: readonly string[]
  readonly violations: readonly Violation[]
  /** Exit codes of the old nodes, and how long each took to stop. */
  readonly exits: readonly (number | null)[]
  readonly stopMs: readonly number[]
  /** Runs that were with an old node still after it had ended. */
  readonly leftBehind: number
  /** Attempts that were begun and whose outcome nobody wrote. */
  readonly doubts: number
  /** Runs that were begun by the old version and finished by the new one. */
  readonly goneOn: number
  readonly finishedByNew: number
}

const NODES: readonly (readonly [name: string, roles: string])[] = [
  ['front-1', 'intake,api'],
  ['worker-1', 'worker'],
  ['front-2', 'intake,api'],
  ['worker-2', 'worker'],
]
const LINGER_SECONDS = 6
const PROBE_MS = 100
/**
 * How long nodes wait for a commit before they answer 503, instead of half a second: that a busy machine makes them
 * late is not the restart's doing. What is left is what only a restart can break.
 */
const ANSWER_WITHIN_MS = 30 * SECOND
const AT_ONCE = 16
const MOST_UNFINISHED = 100

/** Restarts four nodes with a new version of every flow, one after another, under load. */
export async function restartAll(options: RollingOptions): Promise<RollingReport> {
  const { folder, entries, postgres } = options
  const seen: string[] = []
  const ready: string[] = []
  let turn = 0
  const around = await openSurroundings({
    folder: join(folder, 'world'),
    entries,
    postgres,
    targets: () => (ready.length === 0 ? [] : [ready[++turn % ready.length]!]),
    answerWithinMs: ANSWER_WITHIN_MS + SECOND,
    onAnswer: (status, code, ms) => {
      if (status !== undefined && status >= 200 && status <= 299) return
      seen.push(`${status ?? ''} ${code ?? ''} after ${Math.round(ms)} ms`.trim())
    },
  })
  const start = await startsServe(options, around)
  const up = new Map<string, Served>()
  const balancer = balance(up, ready)
  try {
    for (const [name, roles] of NODES) up.set(name, await start(name, roles, 1))
    const isKnown = async (node: Served): Promise<void> => {
      if (node.url === undefined || ready.includes(node.url)) return
      await balancer.look()
      await isKnown(node)
    }
    for (const node of up.values()) await isKnown(node)
    let over = false
    const sending = send(around, options, () => over)
    await pause(systemClock, 2 * SECOND, { keepAlive: true })

    const exits: (number | null)[] = []
    const stopMs: number[] = []
    let leftBehind = 0
    for (const [name, roles] of NODES) {
      const old = up.get(name)!
      const began = systemClock.monotonic()
      old.child.kill(options.rudely ? 'SIGKILL' : 'SIGTERM')
      const code = await old.ended
      stopMs.push(Math.round(systemClock.monotonic() - began))
      exits.push(code)
      leftBehind += await runsOf(around, old.node)
      const next = await start(name, roles, 2)
      up.set(name, next)
      await isKnown(next)
    }
    await pause(systemClock, SECOND, { keepAlive: true })
    over = true
    await sending
    await settle(around, 0, 120 * SECOND)
    // An effect is at the provider before its attempt is written down: what is with a node is not over yet.
    await until(120 * SECOND, async () => (await underWay(around)) === 0)
    return {
      seen,
      ...(await judged(around)),
      exits,
      stopMs,
      leftBehind,
      troubles: around.troubles(),
    }
  } finally {
    balancer.stop()
    for (const { child } of up.values()) child.kill('SIGKILL')
    await Promise.all([...up.values()].map(({ ended }) => ended))
    await around.close()
  }
}

async function judged(
  around: Surroundings,
): Promise<Pick<RollingReport, 'deliveries' | 'violations' | 'doubts' | 'goneOn' | 'finishedByNew'>> {
  around.witness.look()
  const { sent } = around.sender
  const { places } = around.witness
  const doubtful = sent.filter((delivery) => effectsOf(delivery).some((key) => !places.has(key)))
  const states = await statesOf(
    around,
    doubtful.map(({ id }) => id),
  )
  const count = async (statement: string): Promise<number> =>
    (await around.ask<{ many: number }>(statement))?.[0]?.many ?? Number.NaN
  return {
    deliveries: sent.length,
    violations: judge({ sent, places, stateOf: (id) => states.get(id) ?? 'there is no such event' })
      .violations,
    doubts: await count(`select count(*)::int as many from attempts where state is null`),
    goneOn: await count(
      `select count(distinct r.id)::int as many from runs r join journal j on j.tenant = r.tenant and j.run_id = r.id
       where r.flow_version = 2 and r.state = 'succeeded' and j.name = 'added' and exists (
         select 1 from journal first where first.tenant = r.tenant and first.run_id = r.id and first.seq = 1
           and first.finished_at < (select min(started_at) from nodes where version = '2'))`,
    ),
    finishedByNew: await count(
      `select count(distinct run_id)::int as many from journal where name = 'added'`,
    ),
  }
}

async function underWay(around: Surroundings): Promise<number> {
  const rows = await around.ask<{ many: number }>(
    `select count(*)::int as many from runs where state in ('queued', 'running', 'undoing')`,
  )
  return rows?.[0]?.many ?? Number.NaN
}

async function runsOf(around: Surroundings, node: string | undefined): Promise<number> {
  if (node === undefined) return 0
  const rows = await around.ask<{ many: number }>(
    'select count(*)::int as many from runs where node_id = $1',
    [node],
  )
  return rows?.[0]?.many ?? Number.NaN
}

// --- nodes, as the command line starts them ---------------------------------------------------------------

/** What `trestle serve --json` says once it listens. */
interface Said {
  readonly as: string
  readonly url?: string
  readonly node?: string
}

interface Served {
  readonly child: ChildProcess
  readonly url: string | undefined
  readonly node: string | undefined
  readonly ended: Promise<number | null>
}

/** Writes a project whose flows' version comes from the environment, and gives what starts `trestle serve` in it. */
async function startsServe(
  { folder, entries }: RollingOptions,
  around: Surroundings,
): Promise<(name: string, roles: string, version: number) => Promise<Served>> {
  const from = (file: string): string => JSON.stringify(pathToFileURL(join(entries, file)).href)
  await writeFile(
    join(folder, 'trestle.config.mjs'),
    `import { acme } from ${from('connector.js')}
import { FLOWS } from ${from('flows.js')}
import { defineConfig } from ${from('../../src/define/index.js')}
import { ANSWER_LIMITS } from ${from('../../src/webhooks/exchange.js')}

ANSWER_LIMITS.ackTimeoutMs = ${ANSWER_WITHIN_MS}

const version = Number(process.env.FLOWS_VERSION)
const later = (flow) => ({
  ...flow,
  version,
  async run(context) {
    await flow.run(context)
    await context.step('added', () => version)
  },
})
export default defineConfig({
  connections: {
    acme: acme.connect({
      baseUrl: process.env.PROVIDER_URL,
      secrets: { token: 'rolling-token' },
      webhookSecrets: [process.env.WEBHOOK_SECRET],
      allowPrivateNetwork: true,
    }),
  },
  flows: version === 1 ? FLOWS : FLOWS.map(later),
})
`,
  )
  const masterKey = Buffer.from(systemRandom.bytes(32)).toString('base64')
  return async (name, roles, version) => {
    const logFile = around.newFile(`${name}-${version}.log`)
    const log = openSync(logFile, 'a', 0o600)
    const child = spawn(
      process.execPath,
      [
        join(entries, '..', '..', 'src', 'cli', 'main.js'),
        'serve',
        `--role=${roles}`,
        '--port=0',
        `--linger=${LINGER_SECONDS}`,
        `--folder=${folder}`,
        '--json',
      ],
      {
        stdio: ['ignore', 'pipe', log],
        env: {
          ...process.env,
          DATABASE_URL: around.databaseUrl,
          TRESTLE_MASTER_KEY: masterKey,
          PROVIDER_URL: around.providerUrl,
          WEBHOOK_SECRET: around.webhookSecret,
          FLOWS_VERSION: String(version),
        },
      },
    )
    closeSync(log)
    const ended = once(child, 'exit').then(([code]) => code as number | null)
    const ready = once(child.stdout!, 'data').then(([text]) => JSON.parse(String(text)) as Said)
    const said = await Promise.race([ready, ended.then(() => undefined)])
    if (said?.as !== 'ready') throw new Error(`${name} did not start: ${readFileSync(logFile, 'utf8')}`)
    return { child, url: said.url, node: said.node, ended }
  }
}

// --- around the nodes -------------------------------------------------------------------------------------

/**
 * A load balancer: asks every node that listens whether it is ready, and sends only to those that are. A probe that is
 * answered late, or with a database that is, changes nothing: balancers want several of those in a row.
 */
function balance(up: ReadonlyMap<string, Served>, ready: string[]): { look(): Promise<void>; stop(): void } {
  let stopped = false
  const look = async (): Promise<void> => {
    const urls = [...up.values()].flatMap(({ url, child }) =>
      url === undefined || child.exitCode !== null || child.signalCode !== null ? [] : [url],
    )
    const said = await Promise.all(urls.map(probe))
    const fit = urls.filter((url, i) => said[i] === 'ready' || (said[i] === 'late' && ready.includes(url)))
    ready.splice(0, ready.length, ...fit)
  }
  const again = async (): Promise<void> => {
    await look()
    if (!stopped) systemClock.after(PROBE_MS, () => void again())
  }
  void again()
  return {
    look,
    stop: () => {
      stopped = true
    },
  }
}

async function probe(url: string): Promise<'ready' | 'stopping' | 'late' | 'gone'> {
  try {
    const answer = await fetch(`${url}/ready`, {
      signal: AbortSignal.timeout(SECOND),
      headers: { connection: 'close' },
    })
    if (answer.ok) return 'ready'
    return (await answer.text()).includes('"stopping"') ? 'stopping' : 'late'
  } catch (error) {
    return (error as Error).name === 'TimeoutError' ? 'late' : 'gone'
  }
}

async function send(
  around: Surroundings,
  { seed, rate }: RollingOptions,
  isOver: () => boolean,
): Promise<void> {
  const source = errands(seed, 'rolling')
  const portions: Promise<void>[] = []
  while (!isOver()) {
    // On a busy machine the backlog stays small, so that what is compared at the end is done by then.
    around.witness.look()
    if (unfinished(around.sender.sent, around.witness.places).length > MOST_UNFINISHED) {
      await pause(systemClock, SECOND / 4, { keepAlive: true })
      continue
    }
    portions.push(around.sender.send(take(source, rate / 4), AT_ONCE))
    await pause(systemClock, SECOND / 4, { keepAlive: true })
  }
  await Promise.all(portions)
}

function* take(source: Generator<Errand, never>, deliveries: number): Generator<Errand, void> {
  for (let taken = 0; taken < deliveries;) {
    const errand = source.next().value
    taken += errand.length
    yield errand
  }
}
