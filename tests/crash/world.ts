import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import pg from 'pg'
import { pause, SECOND, systemClock, systemRandom } from '../../src/base/index.ts'
import { startEmbeddedPostgres, type EmbeddedPostgres } from '../../src/db/embedded/index.ts'
import { openDatabase } from '../../src/db/index.ts'
import { openSourceLedger, openWitness, type SourceLedger, type Witness } from './ledgers.ts'
import type { NodeOptions, NodeReady } from './node.ts'
import { startChild, type Child, type Ended } from './processes.ts'
import type { ProviderReady } from './provider.ts'
import type { Sabotage } from './sabotage.ts'
import { createSender, type Sender } from './sender.ts'

export interface WorldOptions {
  /** An empty folder for everything that this world writes. */
  readonly folder: string
  /** Where the compiled `node.js` and `provider.js` are. */
  readonly entries: string
  readonly postgres: EmbeddedPostgres
  readonly sabotage?: Sabotage
}

/** A node of the platform, as the world sees it. */
export interface PlatformNode extends Child<NodeReady> {
  /** Set once it is ready. */
  readonly id: () => string
  readonly url: () => string
  readonly startedAt: number
}

/**
 * The platform under test with what is around it: a real PostgreSQL that syncs, nodes as processes, the provider in a
 * process of its own, and a sender here. The provider and the sender write down what they saw; they never crash.
 */
export interface World {
  readonly sender: Sender
  readonly witness: Witness
  readonly postgres: () => EmbeddedPostgres
  /** PostgreSQL was started anew, at the same address. */
  bootedWith(postgres: EmbeddedPostgres): void
  /** The node that goes on while others are killed. */
  readonly steady: () => PlatformNode
  /** Starts another node; it takes webhooks first, as long as it lives. */
  startVictim(over?: { crashAt?: NodeOptions['crashAt']; under?: readonly string[] }): Promise<PlatformNode>
  /** Starts the steady node anew, after it was killed. */
  startSteady(): Promise<PlatformNode>
  /** Kills the steady node. Where it ends without this, that is noted, and another one is started at once. */
  killSteady(): Promise<Ended>
  /** Steady nodes that ended and that nobody had killed, since the last time that this was asked. */
  endedByThemselves(): readonly PlatformNode[]
  /** Times during which PostgreSQL was down: who waits for it is not late. */
  readonly outages: Outage[]
  /** The node takes no further webhooks: it is gone, or stands still. */
  takeAway(node: PlatformNode): void
  /** When a 2xx came last, by the monotonic clock. */
  readonly lastServed: () => number
  /** Rows of a question to the database; `undefined` where it cannot be asked now. */
  ask<Row extends object>(statement: string, values?: unknown[]): Promise<Row[] | undefined>
  /** Whether PostgreSQL answers a new connection now. */
  databaseAnswers(): Promise<boolean>
  /** Names a new file in the world's folder. */
  newFile(name: string): string
  close(): Promise<void>
}

/** By the monotonic clock, in milliseconds. */
export interface Outage {
  readonly from: number
  readonly to: number
}

const CONNECTIONS = 48

export async function openWorld(options: WorldOptions): Promise<World> {
  const { folder, entries } = options
  let { postgres } = options
  await mkdir(folder, { recursive: true })
  const databaseUrl = await createDatabase(postgres.url)
  const database = openDatabase({ url: databaseUrl, max: 3, name: 'crash test', statementTimeoutMs: 10_000 })
  const witnessFile = join(folder, 'effects.jsonl')
  const witness = openWitness(witnessFile)
  const provider = startChild<ProviderReady>({
    entry: join(entries, 'provider.js'),
    options: { witnessFile },
    logFile: join(folder, 'provider.log'),
  })
  const providerUrl = (await provider.ready)?.url
  if (providerUrl === undefined) throw new Error(`The provider did not start: ${provider.said()}`)
  const ledger: SourceLedger = await openSourceLedger(join(folder, 'acknowledged.jsonl'))
  const webhookSecret = `whsec_${systemRandom.bytes(24).toString('base64')}`

  let files = 0
  const newFile = (name: string): string => join(folder, `${String(++files).padStart(4, '0')}-${name}`)
  const serving: PlatformNode[] = []
  let steady: PlatformNode | undefined
  let lastServed = 0

  const takeAway = (node: PlatformNode): void => {
    const at = serving.indexOf(node)
    if (at >= 0) serving.splice(at, 1)
  }

  async function startNode(
    name: string,
    over: { crashAt?: NodeOptions['crashAt']; under?: readonly string[] },
  ): Promise<PlatformNode> {
    const given: NodeOptions = {
      databaseUrl,
      folder,
      providerUrl: providerUrl!,
      webhookSecret,
      roles: ['intake', 'worker'],
      ...(over.crashAt && { crashAt: over.crashAt }),
      ...(options.sabotage && { sabotage: options.sabotage }),
    }
    const startedAt = systemClock.monotonic()
    const child = startChild<NodeReady>({
      entry: join(entries, 'node.js'),
      options: given,
      logFile: newFile(`${name}.log`),
      ...(over.under && { under: over.under }),
    })
    let said: NodeReady | undefined
    const node: PlatformNode = { ...child, startedAt, id: () => said?.node ?? '', url: () => said?.url ?? '' }
    void child.ended.then(() => takeAway(node))
    said = await child.ready
    if (said && !child.hasEnded()) serving.unshift(node)
    return node
  }

  const mayEnd = new Set<PlatformNode>()
  const ended: PlatformNode[] = []
  let closing = false
  async function startSteady(): Promise<PlatformNode> {
    const node = await startNode('steady', {})
    steady = node
    // Those that are to be killed come first, so that something happens to them.
    takeAway(node)
    if (!node.hasEnded()) serving.push(node)
    void node.ended.then(async () => {
      if (mayEnd.has(node)) return
      ended.push(node)
      await pause(systemClock, SECOND, { keepAlive: true })
      if (!closing) await startSteady()
    })
    return node
  }

  const sender = createSender({
    targets: () => serving.map((node) => node.url()),
    secret: webhookSecret,
    ledger,
    connections: CONNECTIONS,
    onAnswer: (status) => {
      if (status !== undefined && status < 300) lastServed = systemClock.monotonic()
    },
  })

  const world: World = {
    sender,
    witness,
    postgres: () => postgres,
    bootedWith(booted) {
      postgres = booted
    },
    steady: () => steady!,
    startVictim: (over = {}) => startNode('victim', over),
    startSteady,
    async killSteady() {
      const node = steady!
      mayEnd.add(node)
      node.kill()
      return node.ended
    },
    endedByThemselves: () => ended.splice(0),
    outages: [],
    takeAway,
    lastServed: () => lastServed,
    async ask(statement, values) {
      try {
        return (await database.pool.query(statement, values)).rows
      } catch {
        return undefined
      }
    },
    databaseAnswers: () => answersNow(databaseUrl),
    newFile,
    async close() {
      closing = true
      if (steady) mayEnd.add(steady)
      await Promise.all([...serving, steady!].map((node) => endNode(node)))
      await sender.close()
      await ledger.close()
      witness.close()
      await database.close()
      provider.kill()
      await provider.ended
      await dropDatabase(postgres.url, databaseUrl)
    },
  }
  const first = await startSteady()
  if (!first.hasEnded()) return world
  await world.close()
  throw new Error(`The platform did not start: ${first.said()}`)
}

const STOP_LIMIT_MS = 20 * SECOND

/** Ends a node in order; one that does not is killed. */
export async function endNode(node: PlatformNode): Promise<Ended> {
  const stopped = node.stop().then(() => true)
  const late = pause(systemClock, STOP_LIMIT_MS).then(() => false)
  if (!(await Promise.race([stopped, late]))) node.kill()
  return node.ended
}

/** Embedded PostgreSQL as the platform starts it: whatever is loosened is said in `settings`. */
export function startPostgres(
  folder: string,
  settings: Readonly<Record<string, string>> = {},
): Promise<EmbeddedPostgres> {
  return startEmbeddedPostgres({ dataDir: join(folder, 'postgres'), settings })
}

async function answersNow(url: string): Promise<boolean> {
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: SECOND })
  client.on('error', () => {})
  try {
    await client.connect()
    await client.query('select 1')
    return true
  } catch {
    return false
  } finally {
    await client.end().catch(() => {})
  }
}

async function createDatabase(url: string): Promise<string> {
  const name = `crash_${systemRandom.bytes(6).toString('hex')}`
  await asAdmin(url, `create database ${name}`)
  const own = new URL(url)
  own.pathname = `/${name}`
  return own.href
}

/** Recovery after a crash syncs every file of the server, so those of worlds that are over must not stay. */
function dropDatabase(url: string, own: string): Promise<void> {
  return asAdmin(url, `drop database if exists ${new URL(own).pathname.slice(1)} with (force)`)
}

async function asAdmin(url: string, statement: string): Promise<void> {
  const admin = openDatabase({ url, max: 1 })
  try {
    await admin.pool.query(statement)
  } finally {
    await admin.close()
  }
}
