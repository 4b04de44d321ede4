import { writeSync } from 'node:fs'
import { subscribe } from 'node:diagnostics_channel'
import { z } from 'zod'
import {
  CRASH_CHANNEL,
  reasonOf,
  systemClock,
  systemRandom,
  type CrashPoint,
  type ReachedPoint,
} from '../../src/base/index.ts'
import {
  cron,
  defineConfig,
  defineConnector,
  defineFlow,
  defineOperation,
  definePollSource,
  poll,
} from '../../src/define/index.ts'
import { createPlatform, openInstallation } from '../../src/runtime/index.ts'
import { onAskedToStop, readChildOptions, tellParent } from '../crash/child.ts'

/** A worker with a schedule and a poll, in a process of its own. */
export interface NodeOptions {
  readonly databaseUrl: string
  readonly folder: string
  readonly providerUrl: string
  /** Kills itself when it reaches this point for the `count`-th time. */
  readonly crashAt?: { readonly point: CrashPoint; readonly count: number }
}

export interface NodeReady {
  readonly as: 'ready'
}

const options = readChildOptions() as NodeOptions
let reached = 0
subscribe(CRASH_CHANNEL, (point) => {
  const { crashAt } = options
  if (crashAt && (point as ReachedPoint).name === crashAt.point && ++reached === crashAt.count)
    process.kill(process.pid, 'SIGKILL')
})

const list = defineOperation({
  summary: 'list things',
  input: z.object({ since: z.string().optional(), after: z.number().optional() }),
  output: z.looseObject({ next: z.number().optional() }),
  idempotency: { kind: 'natural' },
  request: (query) => ({ method: 'GET', path: '/things', query }),
})
const shop = defineConnector({
  name: 'shop',
  title: 'Shop',
  baseUrl: 'http://127.0.0.1:1',
  auth: { kind: 'none' },
  operations: { list },
  events: {},
  limits: [],
  check: { operation: 'list', input: {} },
})
const things = definePollSource({
  summary: 'a thing changed',
  operation: list,
  input: ({ since, after }) => ({
    ...(since === undefined ? {} : { since }),
    ...(after === undefined ? {} : { after: Number(after) }),
  }),
  items: '/items',
  item: z.looseObject({ id: z.string(), changedAt: z.string() }),
  id: (thing) => thing.id,
  version: (thing) => thing.changedAt,
  changedAt: (thing) => thing.changedAt,
  order: 'changedAt',
  next: (page) => page.next,
})

const installation = await openInstallation({
  config: defineConfig({
    connections: { shop: shop.connect({ baseUrl: options.providerUrl, allowPrivateNetwork: true }) },
    flows: [
      defineFlow({
        name: 'every-minute',
        on: cron('* * * * *', { missed: 'all' }),
        run: ({ event }) => event.data.scheduledFor,
      }),
      defineFlow({
        name: 'things',
        on: poll(shop, things, { every: '10 s', from: 'beginning' }),
        run: ({ event }) => event.data.id,
      }),
    ],
  }),
  folder: options.folder,
  databaseUrl: options.databaseUrl,
  environment: {},
  clock: systemClock,
  random: systemRandom,
  development: true,
  onFault,
})
const platform = await createPlatform(installation, { roles: ['worker'], version: 'schedules-test', onFault })
onAskedToStop(async () => {
  await platform.stop()
  await installation.close()
})
tellParent({ as: 'ready' } satisfies NodeReady)

function onFault(what: string, error: unknown): void {
  writeSync(2, `${what}: ${reasonOf(error)}\n`)
}
