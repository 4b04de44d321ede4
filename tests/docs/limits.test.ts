/** docs/limits.md: every limit that the code states, with its value as the code has it. */
import { expect, it } from 'vitest'
import { DAY, HOUR, MINUTE } from '../../src/base/index.ts'
import {
  API,
  bytes,
  COMING_IN,
  GOING_OUT,
  KEEPING,
  KIB,
  MIB,
  RUNS,
  TELLING,
  time,
  type Limit,
} from '../limits/table.ts'

/** A table as the formatter writes it, so that it has nothing to change. */
function table(limits: readonly Limit[]): string {
  const rows = [
    ['what', 'at most', 'beyond it', 'constant'],
    ...limits.map(([what, value, beyond, constant]) => [what, value, beyond, `\`${constant}\``]),
  ]
  const widths = [0, 1, 2, 3].map((column) => Math.max(...rows.map((row) => row[column]!.length)))
  const lines = rows.map((row) => `| ${row.map((cell, i) => cell.padEnd(widths[i]!)).join(' | ')} |`)
  const rule = `| ${widths.map((width) => '-'.repeat(width)).join(' | ')} |`
  return [lines[0], rule, ...lines.slice(1)].join('\n')
}

/** The generated document. `npx vitest run tests/docs/limits.test.ts -u` writes it anew. */
function document(): string {
  return [
    '# Limits',
    'Generated from the constants in the code; a test keeps it current. The limits of each provider stand in its connector’s README.',
    '## Coming in',
    table(COMING_IN),
    '## Runs',
    table(RUNS),
    `A journal is read whole each time that its run goes on. Keep it far below its limit: return ids and summaries from steps, and ask for small pages.`,
    '## Going out',
    table(GOING_OUT),
    '## The HTTP API and the live page',
    table(API),
    '## Keeping',
    table(KEEPING),
    '## Incidents and alerts',
    `${table(TELLING)}\n`,
  ].join('\n\n')
}

it('docs/limits.md is what the code says', async () => {
  await expect(document()).toMatchFileSnapshot('../../docs/limits.md')
})

it('writes numbers in the unit that people read', () => {
  expect([bytes(MIB), bytes(16 * KIB), bytes(1500)]).toEqual(['1 MiB', '16 KiB', '1,500 bytes'])
  expect([time(500), time(10_000), time(15 * MINUTE), time(72 * HOUR), time(30 * DAY)]).toEqual([
    '500 ms',
    '10 s',
    '15 min',
    '72 h',
    '30 days',
  ])
})
