import { SECOND } from '../../src/base/index.ts'
import { createDatabase, dropDatabase } from '../crash/surroundings.ts'
import { runCampaign, type CampaignReport } from '../oauth/campaign.ts'
import { lateIn, PRODUCT_SIZED, SHORT_SIZED } from '../oauth/sizes.ts'
import type { Drill, DrillOptions, DrillReport } from './drill.ts'

/** With faults of a minute and more the times are the product's own; below, a lease that is a third of it. */
const WHOLE_FROM_SECONDS = 60
export const refreshRace: Drill = {
  number: '8',
  title: 'four processes refresh the same grants, and are killed in the middle of it',
  run: play,
  controls: [
    {
      sabotage: 'refreshes_out_of_turn',
      notices: ({ twice, broken }) =>
        twice > 0 && broken.some((line) => line.includes('while the first lived')),
    },
    {
      sabotage: 'reads_before_keeping',
      notices: ({ twice, broken }) =>
        twice > 0 && broken.some((line) => line.includes('although the answer was committed')),
    },
  ],
}

async function play(options: DrillOptions): Promise<DrillReport> {
  const { seconds, seed, folder, compiled, postgres, sabotage, onProgress } = options
  const size = seconds >= WHOLE_FROM_SECONDS ? PRODUCT_SIZED : SHORT_SIZED
  const databaseUrl = await createDatabase(postgres.url)
  let shown = 0
  try {
    const report = await runCampaign({
      ...size,
      databaseUrl,
      folder,
      compiled,
      seed,
      expiries: seconds,
      limitMs: 3 * seconds * SECOND,
      ...(sabotage && { sabotage, killEvery: 2, killAt: ['refresh.kept'], connections: 2, idle: 0 }),
      onProgress: ({ expiries, kills }) => {
        if (expiries < shown + 10) return
        shown = expiries
        onProgress(`${expiries} expiries, ${kills} processes killed`)
      },
    })
    return reportOf(report, size === PRODUCT_SIZED)
  } finally {
    await dropDatabase(postgres.url, databaseUrl)
  }
}

function reportOf(report: CampaignReport, isWhole: boolean): DrillReport {
  const { expiries, lost, toldMs, recoveredMs, kills } = report
  return {
    drill: '8',
    scale: `${expiries} expiries${isWhole ? '' : ', a lease of 11 s, slow answers of 3 s'}`,
    n: expiries,
    acknowledged: expiries,
    // Grants; one whose answer died with its process is held, and not lost.
    lost: report.diedWithoutReason,
    gone: 0,
    twice: report.askedTooOften.length,
    held: lost,
    recoveredMs: recoveredMs.length === 0 ? undefined : Math.max(...recoveredMs),
    alertedMs: toldMs.length === 0 ? undefined : Math.max(...toldMs),
    answers: {},
    figures: {
      'questions to the token endpoint': report.questions,
      'expiries asked for once': report.askedOnce,
      'asked again, unspent': report.askedAgain,
      'slow answers': report.slowAnswers,
      'processes killed': Object.values(kills).reduce((sum, count) => sum + count, 0),
      'answers lost with their process': lost,
      calls: report.calls,
    },
    broken: report.broken,
    late: lateIn(report),
  }
}
