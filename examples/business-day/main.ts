import { systemClock } from 'trestle/testing'
import { connectToApi } from './api.ts'
import { makeMembers, playDay } from './day.ts'
import { KEYS, spendEvening } from './evening.ts'
import { createFeed } from './feed.ts'
import { openSalon } from './happenings.ts'
import { readKeys } from './keys.ts'
import { HELP, readOptions, type Options } from './options.ts'
import { startPlatform, type Platform } from './platform.ts'
import { openScreen, type Screen } from './screen.ts'
import { summarize, summaryLines } from './summary.ts'
import { startTwins, type Twins } from './twins.ts'
import { createWaits, LOOK_EVERY_MS } from './waits.ts'
import { Witness } from './witness.ts'
import { openWorkFolder } from './workFolder.ts'

/** Everything that the twins make up comes from it, so that every day is the same. */
const SEED = 'a business day'
/** What is still under way when somebody quits is given so long to end. */
const LAST_WAIT_MS = 10_000
const INTERRUPTED = 130
const clock = systemClock

const options = readOptions(process.argv.slice(2))
if (options === 'help') process.stdout.write(HELP)
else if ('mistake' in options) {
  process.stderr.write(`${options.mistake}\n`)
  process.exitCode = 2
} else process.exitCode = await demo(options)

/** The whole demo, from start to the end of the last process. Gives the exit code. */
async function demo(options: Options): Promise<number> {
  const startedAt = clock.now()
  const screen = openScreen(clock)
  const quit = new AbortController()
  const told = onSignal().then(() => {
    screen.status(undefined)
    screen.line('Ending …')
    quit.abort()
  })
  const stops: (() => Promise<void> | void)[] = []
  try {
    const work = openWorkFolder()
    stops.push(() => work.leave())
    const twins = await startTwins(SEED, clock)
    stops.push(() => twins.stop())
    screen.line('Starting PostgreSQL, the platform (one node for what comes in, two workers) and six twins …')
    const say = (line: string): void => screen.line(line)
    const platform = await startPlatform({ work, clock, environment: twins.environment, say })
    stops.push(() => platform.stop())
    screen.line(`Up after ${((clock.now() - startedAt) / 1000).toFixed(1)} s: ${platform.url}`)
    showLink(screen, platform)

    return await Promise.race([
      live({ ...options, screen, twins, platform, startedAt, signal: quit.signal }),
      told.then(() => INTERRUPTED),
      platform.failed.then((error) => {
        throw error
      }),
    ])
  } catch (error) {
    if (quit.signal.aborted) return INTERRUPTED
    process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`)
    return 1
  } finally {
    quit.abort()
    screen.status(undefined)
    for (const stop of stops.reverse()) await stop()
  }
}

interface LiveParts extends Options {
  readonly screen: Screen
  readonly twins: Twins
  readonly platform: Platform
  readonly startedAt: number
  /** Ends everything that waits. */
  readonly signal: AbortSignal
}

/** The day, its summary, and the evening. Gives the exit code. */
async function live({ once, json, screen, twins, platform, startedAt, signal }: LiveParts): Promise<number> {
  const pause = pausing(signal)
  const api = connectToApi(platform.url, platform.token)
  const witness = new Witness(twins, clock)
  const salon = openSalon(twins, witness, clock)
  makeMembers(twins)
  twins.sendTo(platform)

  const shows = { lines: true }
  const feed = createFeed({ api, twins, witness, screen, shows: () => shows.lines })
  const watching = watch(() => feed.pull(), pause)
  watching.catch(() => undefined) // It ends with the demo.
  const waits = createWaits({ twins, witness, api, screen, clock, pause })
  const say = (line: string): void => screen.title(line)
  await playDay({ twins, salon, clock, pause, say, ...waits })
  await waits.runsAtRest()
  await pause(3 * LOOK_EVERY_MS) // The last lines.
  shows.lines = false

  const conclude = () =>
    summarize({ twins, witness, api, clock, startedAt, firstEffectAt: feed.firstEffectAt() })
  const day = await conclude()
  screen.title('The day')
  for (const line of summaryLines(day)) screen.line(line)
  if (day.ok) screen.good('Nothing was lost, and nothing was done twice.')
  else screen.warning('This day did not go as it should: see above.')
  if (once) {
    if (json) screen.line(JSON.stringify(day))
    return day.ok ? 0 : 1
  }

  screen.line('')
  showLink(screen, platform)
  screen.line(`Payments keep coming. Keys: ${KEYS}`)
  const evening = spendEvening({ twins, salon, witness, platform, screen, clock, pause })
  const press = (key: string): void => {
    evening.press(key).catch((error: unknown) => {
      if (!signal.aborted) screen.warning(`${key}: ${String(error)}`)
    })
  }
  await Promise.race([readKeys(press, signal), watching])
  evening.stop()
  screen.line('Ending …')
  await Promise.race([waits.settled(), pause(LAST_WAIT_MS)])
  if (json) screen.line(JSON.stringify(await conclude()))
  return day.ok ? 0 : 1
}

function showLink(screen: Screen, { live }: Platform): void {
  if (live !== undefined) screen.line(`Live page, once: ${screen.bold(live)}`)
}

/** Looks again and again. A look that fails, while a node is away, is made up for by the next. */
async function watch(look: () => Promise<void>, pause: (ms: number) => Promise<void>): Promise<never> {
  for (;;) {
    await look().catch(() => undefined)
    await pause(LOOK_EVERY_MS)
  }
}

/** Pauses that end with an error once all is over, and with them whoever waited. */
function pausing(signal: AbortSignal): (ms: number) => Promise<void> {
  return (ms) =>
    new Promise((resolve, reject) => {
      const end = (): void => {
        cancel()
        reject(new Error('The demo is over.'))
      }
      const cancel = clock.after(ms, () => {
        signal.removeEventListener('abort', end)
        resolve()
      })
      if (signal.aborted) end()
      else signal.addEventListener('abort', end, { once: true })
    })
}

/** Resolves at the first signal to end. */
/** Asked to end, or nobody reads any more (`npm run demo | head`): PostgreSQL and the nodes must not stay behind. */
function onSignal(): Promise<void> {
  return new Promise((resolve) => {
    process.stdout.on('error', () => resolve())
    for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(name, () => resolve())
  })
}
