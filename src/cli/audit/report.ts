import colors from 'picocolors'
import type { Clock } from '../../base/index.ts'
import type { VerifyReport } from '../../ledger/index.ts'
import { timeWords } from '../times.ts'

const PROBLEMS_SHOWN = 20

const count = (number: number, one: string, many: string): string =>
  `${number.toLocaleString('en-US')} ${number === 1 ? one : many}`
const entries = (number: number): string => count(number, 'entry', 'entries')
const blocks = (number: number): string => count(number, 'block', 'blocks')

/** What a verification found, for people. */
export function reportWords(report: VerifyReport, clock: Clock): string {
  const { checked, checkpoints, unsealed, unconfirmed, gaps } = report
  const lines = [
    report.ok
      ? `${colors.green('The ledger holds together.')} ${entries(checked.entries)}, ${blocks(checked.blocks)}, ${blocks(checkpoints.matched)} confirmed by checkpoints.`
      : `${colors.red('The ledger does not hold together.')} ${count(report.problemCount, 'problem', 'problems')} in ${entries(checked.entries)} and ${blocks(checked.blocks)}.`,
  ]
  for (const problem of report.problems.slice(0, PROBLEMS_SHOWN))
    lines.push(`  ${colors.red('✗')} ${problem.where}: ${problem.text} ${colors.dim(problem.code)}`)
  if (report.problemCount > PROBLEMS_SHOWN)
    lines.push(`  … and ${report.problemCount - PROBLEMS_SHOWN} more (--json lists the first 1,000).`)
  if (unsealed.entries > 0)
    lines.push(
      `The newest ${entries(unsealed.entries)}${unsealed.since === undefined ? '' : `, since ${timeWords(unsealed.since, clock)},`} are in no signed block yet: nothing proves them so far.`,
    )
  if (unconfirmed.blocks > 0)
    lines.push(
      `${blocks(unconfirmed.blocks)} with ${entries(unconfirmed.entries)} are signed but after the newest checkpoint: that all of them were removed would not be noticed.`,
    )
  if (checkpoints.given === 0)
    lines.push(
      `${colors.yellow('No checkpoints were given')}, so a ledger that was cut short cannot be noticed. Give those that you kept elsewhere: --checkpoints FILE`,
    )
  for (const gap of gaps)
    lines.push(`Retention removed ${gap.what}: ${entries(gap.entries)}, and said so in a signed entry.`)
  return lines.join('\n')
}
