import { pause, SECOND, systemClock } from '../../src/base/index.ts'
import { until } from '../crash/underLoad.ts'
import { settleMs, type Drill, type DrillOptions, type DrillReport } from './drill.ts'
import { openGate, type Gate } from './gate.ts'
import { onStage, sendMixed, type Stage } from './stage.ts'

/** A refusal comes so soon at the latest. */
const REFUSED_WITHIN_MS = SECOND
const RECOVERED_WITHIN_MS = 15 * SECOND
const ALERTED_WITHIN_MS = 30 * SECOND
/** An outage as short as this ends before anybody is told: the database counts as away after 15 s. */
const TOLD_FROM_SECONDS = 20
const PER_SECOND = 40
const HEALTHY_MS = 3 * SECOND
/** Answers that were under way when the gate closed are of either time. */
const UNDER_WAY_MS = SECOND

export const databaseGone: Drill = {
  number: '4',
  title: 'the database is gone: first nothing comes back, then connections are reset',
  async run(options) {
    const gate = await openGate(options.postgres.port)
    try {
      return await onStage({ ...options, through: gate.through }, (stage) => play(stage, gate, options))
    } finally {
      await gate.close()
    }
  },
  controls: [{ sabotage: 'answers_before_commit', notices: ({ gone }) => gone > 0 }],
}

async function play(stage: Stage, gate: Gate, options: DrillOptions): Promise<DrillReport> {
  const { seconds, seed, onProgress } = options
  await stage.startNode('first')
  await stage.startNode('second')
  let over = false
  const sending = sendMixed(stage, { seed, perSecond: PER_SECOND, until: () => over })
  await pause(systemClock, HEALTHY_MS, { keepAlive: true })

  const gone = systemClock.monotonic()
  for (const mode of ['swallows', 'resets'] as const) {
    onProgress(`the database ${mode} for ${seconds / 2} s`)
    gate.set(mode)
    await pause(systemClock, (seconds * SECOND) / 2, { keepAlive: true })
  }
  const back = systemClock.monotonic()
  gate.set('open')
  const serves = await until(60 * SECOND, () => stage.lastServed() > back)
  const recoveredMs = Math.round(stage.lastServed() - back)
  await pause(systemClock, HEALTHY_MS, { keepAlive: true })
  over = true
  await sending
  await stage.settled(settleMs(options, 60 * SECOND))

  const judged = await stage.judged()
  const meanwhile = stage.answers.filter(({ at }) => at > gone + UNDER_WAY_MS && at < back)
  const otherThan503 = meanwhile.filter(({ status }) => status !== 503)
  const wrong4xx = stage.answers.filter(({ status = 0 }) => status >= 400 && status < 500)
  const alertedMs = stage.sink.afterMs('database_away', gone)
  const slowestMs = Math.round(Math.max(0, ...meanwhile.map(({ ms }) => ms)))
  return {
    ...judged,
    drill: '4',
    scale: `${seconds} s instead of 10 min, half of it each`,
    recoveredMs: serves ? recoveredMs : undefined,
    alertedMs,
    figures: {
      refused: meanwhile.length - otherThan503.length,
      'slowest refusal ms': slowestMs,
      'connections after': gate.connections(),
    },
    broken: [
      ...judged.broken,
      ...(meanwhile.length === 0 ? ['nobody was refused: the fault did not happen'] : []),
      ...(otherThan503.length > 0
        ? [`${otherThan503.length} of ${meanwhile.length} answers meanwhile were no 503`]
        : []),
      ...(wrong4xx.length > 0 ? [`${wrong4xx.length} answers were 4xx`] : []),
      ...(serves ? [] : ['no 2xx within 60 s of its return']),
      ...(alertedMs === undefined && seconds >= TOLD_FROM_SECONDS
        ? ['nobody was told that the database is away']
        : []),
    ],
    late: [
      ...(slowestMs > REFUSED_WITHIN_MS ? [`a refusal took ${slowestMs} ms`] : []),
      ...((alertedMs ?? 0) > ALERTED_WITHIN_MS ? [`somebody was told after ${alertedMs} ms`] : []),
      ...(recoveredMs > RECOVERED_WITHIN_MS ? [`it served again after ${recoveredMs} ms`] : []),
    ],
  }
}
