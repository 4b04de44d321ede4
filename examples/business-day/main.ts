import { systemClock } from 'trestle/testing'
import { connectToApi, type Api, type ApiQuarantined, type ApiRun } from './api.ts'
import { makeMembers, playDay } from './day.ts'
import { KEYS, spendEvening } from './evening.ts'
import { createFeed } from './feed.ts'
import { openSalon } from './happenings.ts'
import { HELP, readOptions, type Options } from './options.ts'
import { startPlatform, type Platform } from './platform.ts'
import { openScreen, type Screen } from './screen.ts'
import { summarize, summaryLines } from './summary.ts'
import { startTwins, type Twins } from './twins.ts'
import { Witness, type Happening } from './witness.ts'
import { openWorkFolder } from './workFolder.ts'

const SEED = 'a business day'
const LOOK_EVERY_MS = 200
/** Without anything new for so long, what is missing will not come. */
const PATIENCE_MS = 60_000
const clock = systemClock

const pause = (ms: number): Promise<void> =>
  new Promise((resolve) => {
    clock.after(ms, resolve, { keepAlive: true })
  })

const options = readOptions(process.argv.slice(2))
if (options === 'help') process.stdout.write(HELP)
else if ('mistake' in options) {
  process.stderr.write(`${options.mistake}\n`)
  process.exitCode = 2
} else await demo(options)

/** The whole demo, from start to the end of the last process. */
async function demo({ once, json }: Options): Promise<void> {
  const startedAt = clock.now()
  const screen = openScreen(clock)
  const told = interrupted()
  const stops: (() => Promise<void> | void)[] = []
  const stop = async (): Promise<void> => {
    for (const end of stops.splice(0).reverse()) await end()
  }
  const quit = new AbortController()
  void told.then(() => quit.abort())

  try {
    const work = openWorkFolder()
    stops.push(() => work.leave())
    const twins = await startTwins(SEED, clock)
    stops.push(() => twins.stop())
    screen.line('Starting PostgreSQL, the platform (one node for what comes in, two workers) and six twins …')
    const platform = await startPlatform({
      work,
      clock,
      environment: twins.environment,
      say: (line) => screen.line(line),
    })
    stops.push(() => platform.stop())
    screen.line(`Up after ${((clock.now() - startedAt) / 1000).toFixed(1)} s: ${platform.url}`)
    showLink(screen, platform)

    const ended = await Promise.race([
      live({ once, json, screen, twins, platform, startedAt, signal: quit.signal }),
      told.then(() => 130),
      platform.failed.then((error) => {
        throw error
      }),
    ])
    quit.abort()
    if (ended !== 0) process.exitCode = ended
  } catch (error) {
    quit.abort()
    process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`)
    process.exitCode = 1
  }
  screen.status(undefined)
  await stop()
}

interface LiveParts extends Options {
  readonly screen: Screen
  readonly twins: Twins
  readonly platform: Platform
  readonly startedAt: number
  readonly signal: AbortSignal
}

/** The day, its summary, and the evening. Gives the exit code. */
async function live({ once, json, screen, twins, platform, startedAt, signal }: LiveParts): Promise<number> {
  const api = connectToApi(platform.url, platform.token)
  const witness = new Witness(twins, clock)
  const salon = openSalon(twins, witness, clock)
  makeMembers(twins)
  twins.sendTo(platform)

  let isDay = true
  const feed = createFeed({ api, twins, witness, screen, shows: () => isDay })
  const watching = watch(() => feed.pull(), signal)
  const settled = createSettled(witness, twins, signal)
  await playDay({
    twins,
    salon,
    witness,
    clock,
    pause,
    settled,
    say: (line) => screen.title(line),
    releaseAnswer: () => releaseAnswer(api, screen, signal),
  })
  await runsAtRest(api, signal)
  await feed.pull()
  isDay = false

  const conclude = () =>
    summarize({ twins, witness, api, clock, startedAt, firstEffectAt: feed.firstEffectAt() })
  let summary = await conclude()
  screen.title('The day')
  for (const line of summaryLines(summary)) screen.line(line)
  if (summary.ok) screen.good('Nothing was lost, and nothing was done twice.')
  else screen.warning('This day did not go as it should. See above.')

  if (!once) {
    screen.line('')
    showLink(screen, platform)
    screen.line(`Payments keep coming. Keys: ${KEYS}`)
    const evening = spendEvening({ twins, salon, witness, platform, screen, clock, pause })
    await keys((key) => evening.press(key), signal)
    evening.stop()
    await settled()
    summary = await conclude()
  }
  if (json) screen.line(JSON.stringify(summary))
  await Promise.race([watching, pause(0)])
  return summary.ok ? 0 : 1
}

function showLink(screen: Screen, { live }: Platform): void {
  if (live !== undefined) screen.line(`Live page, once: ${screen.bold(live)}`)
}

/** Pulls again and again. A pull that fails, while a node is away, is made up for by the next. */
async function watch(pull: () => Promise<void>, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    await pull().catch(() => undefined)
    await pause(LOOK_EVERY_MS)
  }
}

/** Waits until everything has come of what happened, or nothing has come for too long. */
function createSettled(witness: Witness, twins: Twins, signal: AbortSignal) {
  return async (happenings?: readonly Happening[]): Promise<void> => {
    const open = (): readonly Happening[] =>
      happenings ? happenings.filter((one) => witness.doneAt(one) === undefined) : witness.unfinished()
    const effects = (): number => twins.all.reduce((sum, twin) => sum + twin.effects().length, 0)
    let [seen, at] = [effects(), clock.now()]
    while (!signal.aborted && open().length > 0 && clock.now() - at < PATIENCE_MS) {
      await pause(LOOK_EVERY_MS)
      if (effects() !== seen) [seen, at] = [effects(), clock.now()]
    }
    await Promise.all(twins.all.map((twin) => Promise.race([twin.webhooks.idle(), pause(PATIENCE_MS)])))
  }
}

/** Reads on after the last effect end too. */
async function runsAtRest(api: Api, signal: AbortSignal): Promise<void> {
  const from = clock.now()
  while (!signal.aborted && clock.now() - from < PATIENCE_MS) {
    const runs = await api.all<ApiRun>('/runs')
    if (runs.every(({ state }) => state === 'succeeded' || state === 'held' || state === 'dead_lettered'))
      return
    await pause(LOOK_EVERY_MS)
  }
}

/** What a person does who looks after what is held: reads the path, finds it harmless, and lets the answer pass. */
async function releaseAnswer(api: Api, screen: Screen, signal: AbortSignal): Promise<void> {
  const from = clock.now()
  while (!signal.aborted && clock.now() - from < PATIENCE_MS) {
    const held = await api.all<ApiRun>('/held-runs')
    const { items } = await api.get<{ items: ApiQuarantined[] }>('/quarantine')
    const answer = items.find(({ kind, runId }) => kind === 'answer' && held.some(({ id }) => id === runId))
    if (answer) {
      screen.warning(
        `          held: an answer lacks ${answer.path}. A person looks, and lets it pass (${answer.runId})`,
      )
      await api.post(`/quarantine/${answer.id}/release`)
      return
    }
    await pause(LOOK_EVERY_MS)
  }
}

/** Reads keys until q or Ctrl-C. What comes through a pipe counts as keys too. */
function keys(press: (key: string) => void, signal: AbortSignal): Promise<void> {
  const { stdin } = process
  return new Promise((resolve) => {
    const end = (): void => {
      if (stdin.isTTY) stdin.setRawMode(false)
      stdin.pause()
      resolve()
    }
    signal.addEventListener('abort', end, { once: true })
    if (stdin.isTTY) stdin.setRawMode(true)
    stdin.setEncoding('utf8').on('data', (text: string) => {
      for (const key of text) {
        if (key === 'q' || key === '\u0003') return end()
        press(key)
      }
    })
  })
}

/** Resolves at the first signal to end. */
function interrupted(): Promise<void> {
  return new Promise((resolve) => {
    for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(name, () => resolve())
  })
}
