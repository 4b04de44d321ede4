import { spawn } from 'node:child_process'
import { pause, systemClock } from '../../src/base/index.ts'
import type { Point } from './points.ts'
import { processState, treeOf } from './processes.ts'
import {
  databaseBack,
  FIRE_LIMIT_MS,
  hasServedSince,
  nextServed,
  startLoad,
  until,
  type Outcome,
  type StrikeOptions,
} from './underLoad.ts'

export async function strikePostmaster(options: StrikeOptions, ms: number): Promise<Outcome> {
  const { world } = options
  const { pid } = world.postgres()
  let at = Number.POSITIVE_INFINITY
  const load = startLoad(options, () => hasServedSince(world, at))
  await pause(systemClock, ms, { keepAlive: true })
  process.kill(pid, 'SIGKILL')
  at = systemClock.monotonic()
  const gone = await until(FIRE_LIMIT_MS, () => processState(pid) === undefined)
  const [databaseMs, servingMs] = await Promise.all([databaseBack(world, at), nextServed(world, at)])
  await load.finish()
  return {
    fired: gone,
    evidence: `postmaster ${pid} is ${gone ? 'gone' : 'still there'}`,
    servingMs,
    databaseMs,
    violations: [],
  }
}

export async function strikePostgres(
  options: StrikeOptions,
  point: Extract<Point, { kind: 'postgres_call' }>,
): Promise<Outcome> {
  const { world } = options
  const postmaster = world.postgres().pid
  let killedAt: number | undefined
  const tracer = traceServer(treeOf(postmaster), point, () => {
    killedAt ??= systemClock.monotonic()
    if (point.whole && processState(postmaster) !== undefined) process.kill(postmaster, 'SIGKILL')
  })
  await tracer.attached
  const load = startLoad(options, () => killedAt !== undefined && hasServedSince(world, killedAt))
  await until(FIRE_LIMIT_MS, () => killedAt !== undefined)
  await tracer.detach()
  const detachedAt = systemClock.monotonic()
  if (killedAt === undefined) {
    await load.finish()
    return { fired: false, evidence: `no process came to its ${point.n}th ${point.call}`, violations: [] }
  }
  const [databaseMs, servingMs] = await Promise.all([
    databaseBack(world, killedAt),
    nextServed(world, killedAt),
  ])
  await load.finish()
  const slowedMs = Math.round(detachedAt - killedAt)
  return {
    fired: true,
    evidence: `${tracer.evidence().trim()}, strace let go after ${slowedMs} ms`,
    servingMs,
    databaseMs,
    violations: [],
  }
}

/** The power of the machine is cut: the nodes die, and PostgreSQL comes back with what is on the disk. */
export async function strikePower(options: StrikeOptions, ms: number): Promise<Outcome> {
  const { world, onKilled, cutPower } = options
  if (!cutPower) return { fired: false, evidence: 'this campaign has no power to cut', violations: [] }
  let startedAt = Number.POSITIVE_INFINITY
  const load = startLoad(options, () => hasServedSince(world, startedAt))
  await pause(systemClock, ms, { keepAlive: true })
  const steady = world.steady()
  const began = systemClock.monotonic()
  const postgres = await cutPower(async () => onKilled(steady, (await world.killSteady()).at))
  world.bootedWith(postgres)
  world.outages.push({ from: began, to: systemClock.monotonic() })
  startedAt = (await world.startSteady()).startedAt
  const servingMs = await nextServed(world, startedAt)
  await load.finish()
  return { fired: true, evidence: `booted from the copy as ${postgres.pid}`, servingMs, violations: [] }
}

interface Tracer {
  readonly attached: Promise<void>
  readonly evidence: () => string
  detach(): Promise<void>
}

/** strace on these processes and those that they start; `onKilled` as soon as one was killed. */
function traceServer(
  pids: readonly number[],
  { call, n }: { readonly call: string; readonly n: number },
  onKilled: () => void,
): Tracer {
  const tracer = spawn(
    'strace',
    [
      '-f',
      '-e',
      `trace=${call}`,
      '-e',
      `inject=${call}:signal=KILL:when=${n}`,
      ...pids.flatMap((pid) => ['-p', String(pid)]),
    ],
    { stdio: ['ignore', 'ignore', 'pipe'] },
  )
  let text = ''
  let evidence = ''
  let attachedTo = 0
  let isAttached = (): void => {}
  const attached = new Promise<void>((resolve) => {
    isAttached = resolve
  })
  tracer.stderr.setEncoding('utf8').on('data', (chunk: string) => {
    const lines = (text + chunk).split('\n')
    text = lines.pop()!
    for (const line of lines) {
      if (line.includes(' attached') && ++attachedTo === pids.length) isAttached()
      if (evidence !== '' || !line.includes('+++ killed by SIGKILL +++')) continue
      evidence = line
      onKilled()
    }
  })
  const ended = new Promise<void>((resolve) => {
    tracer.once('close', () => {
      isAttached()
      resolve()
    })
  })
  return {
    attached,
    evidence: () => evidence,
    detach() {
      tracer.kill('SIGTERM')
      return ended
    },
  }
}
