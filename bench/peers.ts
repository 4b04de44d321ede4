import { execFileSync, fork } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { SECRET } from './parts/acme.ts'
import type { Child } from './parts/child.ts'
import { round } from './parts/histogram.ts'
import { setStage, type LoadResult, type Stage } from './parts/stage.ts'

const FOLDER = fileURLToPath(new URL('../../bench/peers', import.meta.url))
const IN_FLIGHT = [64, 256, 1024]

/**
 * The same flow with the same two calls on DBOS Transact, on the same PostgreSQL in the same run, each at its best
 * over connections that send as fast as they are answered. The time counts until the last flow has ended.
 */
export async function peers(seconds: number): Promise<Record<string, unknown>> {
  if (!existsSync(join(FOLDER, 'node_modules')))
    execFileSync('npm', ['ci'], { cwd: FOLDER, stdio: ['ignore', 'ignore', 'inherit'] })
  const trestle = await best(seconds, async (stage) => ({
    child: await stage.startNode(),
    load: {},
    drained: () => stage.drained(),
  }))
  const dbos = await best(seconds, async (stage) => {
    await stage.database.pool.query('create database dbos')
    const child = await startDbos(stage)
    return {
      child,
      load: { path: '/' },
      async drained() {
        const begun = performance.now()
        while ((await child.ask<{ open: number }>({})).open > 0)
          await new Promise((resolve) => setTimeout(resolve, 50))
        return performance.now() - begun
      },
    }
  })
  return { trestle, dbos, ratio: round(trestle.flowsPerSecond / dbos.flowsPerSecond, 2) }
}

interface Contestant {
  readonly child: Child
  readonly load: Record<string, unknown>
  readonly drained: () => Promise<number>
}

interface Best {
  readonly flowsPerSecond: number
  readonly inFlight: number
  readonly all: Readonly<Record<number, number>>
}

async function best(seconds: number, start: (stage: Stage) => Promise<Contestant>): Promise<Best> {
  const stage = await setStage()
  try {
    const { child, load, drained } = await start(stage)
    await stage.load(child, { ...load, seconds: 3 })
    await drained()
    const all: Record<number, number> = {}
    for (const connections of IN_FLIGHT) {
      const result: LoadResult = await stage.load(child, { ...load, seconds, connections, prepare: 6_000 })
      const drainMs = await drained()
      all[connections] = round(result.accepted / (result.seconds + drainMs / 1000), 0)
    }
    const [inFlight, flowsPerSecond] = Object.entries(all).sort(([, a], [, b]) => b - a)[0]!
    await child.stop()
    return { flowsPerSecond, inFlight: Number(inFlight), all }
  } finally {
    await stage.close()
  }
}

function startDbos(stage: Stage): Promise<Child> {
  const url = new URL(stage.databaseUrl)
  url.pathname = '/dbos'
  const argument = { databaseUrl: url.href, providerUrl: stage.provider.ready['url'], secret: SECRET }
  const child = fork(join(FOLDER, 'dbos.mjs'), [JSON.stringify(argument)], {
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
    execArgv: [],
  })
  const next = <Answer>(): Promise<Answer> =>
    new Promise((resolve, reject) => {
      const gone = (): void => reject(new Error('The DBOS process ended.'))
      child.once('exit', gone)
      child.once('message', (message) => {
        child.off('exit', gone)
        resolve(message as Answer)
      })
    })
  return next<Record<string, unknown>>().then((ready) => ({
    pid: child.pid!,
    ready,
    ask: (question) => {
      const answer = next()
      child.send(question)
      return answer as never
    },
    kill: (signal) => {
      child.kill(signal)
    },
    stop: () =>
      new Promise((resolve) => {
        child.once('exit', () => resolve())
        child.kill('SIGTERM')
      }),
  }))
}
