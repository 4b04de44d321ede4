import { open, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { pause, SECOND, systemClock } from '../../src/base/index.ts'
import { startEmbeddedPostgres } from '../../src/db/embedded/index.ts'
import { makeDisk, unmount, whyNoPowerRig } from '../crash/powerRig.ts'
import { until } from '../crash/underLoad.ts'
import { settleMs, type Drill, type DrillOptions, type DrillReport } from './drill.ts'
import { onStage, sendMixed, type Stage } from './stage.ts'

const DISK_BYTES = 300 * 1024 ** 2
const RECOVERED_WITHIN_MS = 30 * SECOND
const ALERTED_WITHIN_MS = 60 * SECOND
/** Half of the time PostgreSQL is away altogether, and counts as that after 15 s: in less nobody is told. */
const TOLD_FROM_SECONDS = 40
const PER_SECOND = 40
const HEALTHY_MS = 3 * SECOND
/** What is on the disk is small, so that it is full soon. */
const SETTINGS = { max_wal_size: '48MB', min_wal_size: '32MB' }

export const diskFull: Drill = {
  number: '5',
  title: 'the disk of the database is full, and is emptied later',
  whyNot: whyNoPowerRig,
  async run(options) {
    const [image, disk] = [join(options.folder, 'disk.img'), join(options.folder, 'disk')]
    await makeDisk(image, disk, DISK_BYTES)
    const notices: string[] = []
    const postgres = await startEmbeddedPostgres({
      dataDir: join(disk, 'postgres'),
      settings: SETTINGS,
      onNotice: (line) => void notices.push(line),
    })
    let downs = 0
    const watch = postgres.watch({ onDown: () => void downs++ })
    try {
      const report = await onStage({ ...options, postgres, folder: join(options.folder, 'world') }, (stage) =>
        play(stage, join(disk, 'ballast'), options),
      )
      return { ...report, figures: { ...report.figures, 'PostgreSQL ended': downs } }
    } catch (error) {
      throw new Error(`${String(error)}\n${notices.slice(-5).join('\n')}`, { cause: error })
    } finally {
      await watch.stop()
      await postgres.stop()
      await unmount(disk)
      await rm(image, { force: true })
    }
  },
  controls: [{ sabotage: 'answers_before_commit', notices: ({ gone }) => gone > 0 }],
}

async function play(stage: Stage, ballast: string, options: DrillOptions): Promise<DrillReport> {
  const { seconds, seed, onProgress } = options
  await stage.startNode('first')
  await stage.startNode('second')
  let over = false
  const sending = sendMixed(stage, { seed, perSecond: PER_SECOND, until: () => over })
  await pause(systemClock, HEALTHY_MS, { keepAlive: true })

  onProgress('the disk fills')
  const began = systemClock.monotonic()
  let full = false
  const filling = fillUntil(ballast, () => full)
  // Space in what PostgreSQL already has is used up first.
  const refused = await until(60 * SECOND, () =>
    stage.answers.some(({ at, status }) => at > began && status === 503),
  )
  const fullAt = systemClock.monotonic()
  onProgress(`refused after ${Math.round(fullAt - began)} ms; it stays full for ${seconds} s`)
  await pause(systemClock, (seconds * SECOND) / 2, { keepAlive: true })
  const failed = await useUpLog(stage)
  onProgress(failed ? 'PostgreSQL found no room for its log' : 'PostgreSQL still has room for its log')
  await pause(systemClock, (seconds * SECOND) / 2, { keepAlive: true })
  full = true
  await filling
  const freed = systemClock.monotonic()
  await rm(ballast)
  onProgress('the disk has room again')
  const serves = await until(90 * SECOND, () => stage.lastServed() > freed)
  const recoveredMs = Math.round(stage.lastServed() - freed)
  await pause(systemClock, HEALTHY_MS, { keepAlive: true })
  over = true
  await sending
  await stage.settled(settleMs(options, 60 * SECOND))

  const judged = await stage.judged()
  const meanwhile = stage.answers.filter(({ at }) => at > fullAt && at < freed)
  const accepted = meanwhile.filter(({ status = 0 }) => status >= 200 && status < 300).length
  const wrong4xx = stage.answers.filter(({ status = 0 }) => status >= 400 && status < 500)
  const alertedMs = stage.sink.afterMs('database_away', fullAt)
  const silent = stage.answers.filter(({ status }) => status === undefined)
  return {
    ...judged,
    drill: '5',
    scale: `full for ${seconds} s, on a disk of ${DISK_BYTES / 1024 ** 2} MB`,
    recoveredMs: serves ? recoveredMs : undefined,
    alertedMs,
    figures: {
      'refused while full': meanwhile.filter(({ status }) => status === 503).length,
      'accepted while full': accepted,
      'slowest refusal ms': Math.round(
        Math.max(0, ...meanwhile.filter(({ status }) => status === 503).map(({ ms }) => ms)),
      ),
    },
    broken: [
      ...judged.broken,
      ...(refused ? [] : ['nobody was refused: the disk was never full']),
      ...(failed ? [] : ['there was room for the log: that PostgreSQL ends itself was not tried']),
      ...(wrong4xx.length > 0 ? [`${wrong4xx.length} answers were 4xx`] : []),
      ...(silent.length > 0 ? [`${silent.length} requests got no answer`] : []),
      ...(serves ? [] : ['no 2xx within 90 s after there was room again']),
      ...(alertedMs === undefined && seconds >= TOLD_FROM_SECONDS
        ? ['nobody was told that the database is away']
        : []),
    ],
    late: [
      ...((alertedMs ?? 0) > ALERTED_WITHIN_MS ? [`somebody was told after ${alertedMs} ms`] : []),
      ...(recoveredMs > RECOVERED_WITHIN_MS ? [`it served again after ${recoveredMs} ms`] : []),
    ],
  }
}

/** Of a segment of the log (16 MiB), so that a few of them use one up. */
const MESSAGE_BYTES = 4 * 1024 ** 2
const MOST_MESSAGES = 60

/**
 * Tables that cannot grow only fail their statements. Without room for its log PostgreSQL ends itself: so what room
 * is left in the log's files is written full too. Answers whether that happened.
 */
async function useUpLog(stage: Stage): Promise<boolean> {
  for (let i = 0; i < MOST_MESSAGES; i++) {
    const written = await stage.ask(
      `select pg_logical_emit_message(true, 'drill', repeat('x', ${MESSAGE_BYTES}))`,
    )
    if (written === undefined) return true
  }
  return false
}

const BLOCK = Buffer.alloc(1024 ** 2, 1)
const SMALL_BLOCK = 4096

/** Takes all room there is, again and again: what PostgreSQL frees is gone at once. */
async function fillUntil(file: string, over: () => boolean): Promise<void> {
  const handle = await open(file, 'a')
  try {
    for (let size = BLOCK.length; !over();) {
      try {
        await handle.write(BLOCK.subarray(0, size))
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error
        if (size === SMALL_BLOCK) await pause(systemClock, 20, { keepAlive: true })
        else await handle.datasync().catch(() => {})
        size = SMALL_BLOCK
      }
    }
  } finally {
    await handle.close()
  }
}
