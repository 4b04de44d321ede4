/** docs/guides/security.md: the table of what is sealed is what the code says. */
import { readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { expect, it } from 'vitest'
import { SEALED_COLUMNS } from '../../src/vault/sealedColumns.ts'

const FILE = resolve(import.meta.dirname, '../../docs/guides/security.md')

function filledIn(text: string, columns = SEALED_COLUMNS): string {
  const rows = columns.map(({ table, column, holds }) => [`\`${table}.${column}\``, holds])
  const all = [['column', 'what is sealed there'], ...rows]
  const widths = [0, 1].map((i) => Math.max(...all.map((row) => row[i]!.length)))
  const lines = all.map((row) => `| ${row.map((cell, i) => cell.padEnd(widths[i]!)).join(' | ')} |`)
  const table = [lines[0], `| ${widths.map((width) => '-'.repeat(width)).join(' | ')} |`, ...lines.slice(1)]
  return text.replace(
    /(<!-- generated: sealed -->\n)[^]*?(<!-- end -->)/,
    (_, from: string, to: string) => `${from}\n${table.join('\n')}\n\n${to}`,
  )
}

/** `npx vitest run tests/docs/sealed.test.ts -u` writes it anew. */
it('docs/guides/security.md names every sealed column', async () => {
  await expect(filledIn(readFileSync(FILE, 'utf8'))).toMatchFileSnapshot(FILE)
})

it('control: a column more is noticed', () => {
  const text = readFileSync(FILE, 'utf8')
  expect(filledIn(text, [...SEALED_COLUMNS, { ...SEALED_COLUMNS[0]!, column: 'other' }])).not.toBe(text)
})
