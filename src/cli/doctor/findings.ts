import colors from 'picocolors'

/** What one look at the installation found. */
export interface Finding {
  readonly level: 'ok' | 'warn' | 'fail'
  /** What was looked at, in a few words. */
  readonly what: string
  /** What was found. */
  readonly found: string
  /** What to do about it. Always there unless all is well. */
  readonly todo?: string
}

export const ok = (what: string, found: string): Finding => ({ level: 'ok', what, found })
export const warn = (what: string, found: string, todo: string): Finding => ({
  level: 'warn',
  what,
  found,
  todo,
})
export const fail = (what: string, found: string, todo: string): Finding => ({
  level: 'fail',
  what,
  found,
  todo,
})

const MARKS: Readonly<Record<Finding['level'], string>> = {
  ok: colors.green('ok  '),
  warn: colors.yellow('warn'),
  fail: colors.red('fail'),
}

/** One line each; below it what to do. */
export function findingsWords(findings: readonly Finding[]): string {
  const width = Math.max(...findings.map((finding) => finding.what.length))
  const lines = findings.flatMap(({ level, what, found, todo }) => [
    `${MARKS[level]}  ${what.padEnd(width)}  ${found}`,
    ...(todo === undefined ? [] : [`${' '.repeat(width + 8)}→ ${todo}`]),
  ])
  return [...lines, '', verdict(findings)].join('\n')
}

function verdict(findings: readonly Finding[]): string {
  const count = (level: Finding['level']): number =>
    findings.filter((finding) => finding.level === level).length
  const [fails, warns] = [count('fail'), count('warn')]
  if (fails > 0) return `${fails} to mend${warns > 0 ? `, ${warns} to look at` : ''}.`
  return warns > 0 ? `It can serve; ${warns} to look at.` : 'All is well.'
}
