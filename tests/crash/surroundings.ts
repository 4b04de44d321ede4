import { existsSync, readFileSync } from 'node:fs'
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import pg from 'pg'
import { SECOND, systemClock, systemRandom } from '../../src/base/index.ts'
import type { EmbeddedPostgres } from '../../src/db/embedded/index.ts'
import { openDatabase } from '../../src/db/index.ts'
import type { AlertsDefinition } from '../../src/define/index.ts'
import type { Role } from '../../src/runtime/index.ts'
import { openSourceLedger, openWitness, type SourceLedger, type Witness } from './ledgers.ts'
import type { NodeOptions, NodeReady } from './node.ts'
import { startChild, type Child } from './processes.ts'
import type { ProviderReady } from './provider.ts'
import type { Sabotage } from './sabotage.ts'
import { createSender, type Sender } from './sender.ts'

export interface SurroundingsOptions {
  /** An empty folder for everything that is written. */
  readonly folder: string
  /** Where the compiled `node.js` and `provider.js` are. */
  readonly entries: string
  readonly postgres: EmbeddedPostgres
  readonly sabotage?: Sabotage
  /** The compiled node among the entries, where it is another one than `node.js`. */
  readonly nodeEntry?: string
  /** What nodes are given beyond {@link NodeOptions}. */
  readonly nodesAlsoGet?: object
  /** Who nodes tell of incidents. Default: nobody. */
  readonly alerts?: AlertsDefinition
  /** The address at which nodes find the database, where something stands between. Default: the database's own. */
  readonly through?: (databaseUrl: string) => string
  /** The platform's addresses now, the one to be asked next first. Default: the nodes that serve, in their order. */
  readonly targets?: (serving: readonly PlatformNode[]) => readonly string[]
  /** How long senders wait for an answer. Default 5 s. */
  readonly answerWithinMs?: number
  /** Told of every answer, and of every failure to get one, and after how many milliseconds. */
  readonly onAnswer?: (status: number | undefined, code: string | undefined, ms: number) => void
}

/** A node of the platform, as its surroundings see it. */
export interface PlatformNode extends Child<NodeReady> {
  readonly name: string
  /** Set once it is ready. */
  readonly id: () => string
  readonly url: () => string
  readonly startedAt: number
}

/** What a node is started with beyond the ordinary. */
export interface StartOptions {
  /** Default: intake and worker. */
  readonly roles?: readonly Role[]
  readonly crashAt?: NodeOptions['crashAt']
  readonly lingerMs?: number
  /** A program with its arguments that starts it, such as strace. */
  readonly under?: readonly string[]
}

/**
 * What is around the nodes: a database of its own, the provider in a process of its own, and a sender here. The
 * provider and the sender write down what they saw; they never crash.
 */
export interface Surroundings {
  readonly databaseUrl: string
  readonly webhookSecret: string
  readonly providerUrl: string
  readonly sender: Sender
  readonly witness: Witness
  /** What the provider had to complain of: requests that were cut off, and that it refused. */
  readonly troubles: () => readonly string[]
  /** Nodes that take webhooks, the one to be asked first at the front. */
  readonly serving: PlatformNode[]
  /** Starts a node; it takes webhooks first, as long as it lives. */
  readonly startNode: (name: string, over?: StartOptions) => Promise<PlatformNode>
  /** The node takes no further webhooks: it is gone, or stands still. */
  readonly takeAway: (node: PlatformNode) => void
  /** When a 2xx came last, by the monotonic clock. */
  readonly lastServed: () => number
  /** Rows of a question to the database; `undefined` where it cannot be asked now. */
  readonly ask: <Row extends object>(statement: string, values?: unknown[]) => Promise<Row[] | undefined>
  /** Whether PostgreSQL answers a new connection now. */
  readonly databaseAnswers: () => Promise<boolean>
  /** Names a new file in the folder. */
  newFile(name: string): string
  /** Ends everything but the nodes. */
  close(): Promise<void>
}

const CONNECTIONS = 48

export async function openSurroundings(options: SurroundingsOptions): Promise<Surroundings> {
  const { folder, entries, postgres } = options
  await mkdir(folder, { recursive: true })
  const databaseUrl = await createDatabase(postgres.url)
  const nodesUrl = options.through?.(databaseUrl) ?? databaseUrl
  const database = openDatabase({ url: databaseUrl, max: 3, name: 'crash test', statementTimeoutMs: 10_000 })
  const witnessFile = join(folder, 'effects.jsonl')
  const troublesFile = join(folder, 'troubles.txt')
  const witness = openWitness(witnessFile)
  const provider = startChild<ProviderReady>({
    entry: join(entries, 'provider.js'),
    options: { witnessFile, troublesFile },
    logFile: join(folder, 'provider.log'),
  })
  const providerUrl = (await provider.ready)?.url
  if (providerUrl === undefined) throw new Error(`The provider did not start: ${provider.said()}`)
  const ledger: SourceLedger = await openSourceLedger(join(folder, 'acknowledged.jsonl'))
  const webhookSecret = `whsec_${systemRandom.bytes(24).toString('base64')}`

  let files = 0
  const newFile = (name: string): string => join(folder, `${String(++files).padStart(4, '0')}-${name}`)
  const serving: PlatformNode[] = []
  let lastServed = 0

  const takeAway = (node: PlatformNode): void => {
    const at = serving.indexOf(node)
    if (at >= 0) serving.splice(at, 1)
  }

  async function startNode(name: string, over: StartOptions = {}): Promise<PlatformNode> {
    const given: NodeOptions = {
      databaseUrl: nodesUrl,
      folder,
      providerUrl: providerUrl!,
      webhookSecret,
      roles: over.roles ?? ['intake', 'worker'],
      ...(over.lingerMs !== undefined && { lingerMs: over.lingerMs }),
      ...(over.crashAt && { crashAt: over.crashAt }),
      ...(options.sabotage && { sabotage: options.sabotage }),
      ...(options.alerts && { alerts: options.alerts }),
      ...options.nodesAlsoGet,
    }
    const startedAt = systemClock.monotonic()
    const child = startChild<NodeReady>({
      entry: join(entries, options.nodeEntry ?? 'node.js'),
      options: given,
      logFile: newFile(`${name}.log`),
      ...(over.under && { under: over.under }),
    })
    let said: NodeReady | undefined
    const node: PlatformNode = {
      ...child,
      name,
      startedAt,
      id: () => said?.node ?? '',
      url: () => said?.url ?? '',
    }
    void child.ended.then(() => takeAway(node))
    said = await child.ready
    if (said && said.url !== '' && !child.hasEnded()) serving.unshift(node)
    return node
  }

  const sender = createSender({
    targets: () => options.targets?.(serving) ?? serving.map((node) => node.url()),
    secret: webhookSecret,
    ledger,
    connections: CONNECTIONS,
    ...(options.answerWithinMs !== undefined && { answerWithinMs: options.answerWithinMs }),
    onAnswer: (status, code, ms) => {
      if (status !== undefined && status < 300) lastServed = systemClock.monotonic()
      options.onAnswer?.(status, code, ms)
    },
  })

  return {
    databaseUrl,
    webhookSecret,
    providerUrl,
    sender,
    witness,
    troubles: () =>
      existsSync(troublesFile) ? readFileSync(troublesFile, 'utf8').trimEnd().split('\n') : [],
    serving,
    startNode,
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
      await sender.close()
      await ledger.close()
      witness.close()
      await database.close()
      provider.kill()
      await provider.ended
      await dropDatabase(postgres.url, databaseUrl)
    },
  }
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

/** Another empty database on that server; gives its address. */
export async function createDatabase(url: string): Promise<string> {
  const name = `crash_${systemRandom.bytes(6).toString('hex')}`
  await asAdmin(url, `create database ${name}`)
  const own = new URL(url)
  own.pathname = `/${name}`
  return own.href
}

/** Recovery after a crash syncs every file of the server, so those of worlds that are over must not stay. */
export function dropDatabase(url: string, own: string): Promise<void> {
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
