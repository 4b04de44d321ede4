/** docs/guides/access.md: its tables of roles, scopes and routes are what the code says. */
import { readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { expect, it } from 'vitest'
import { apiRoutes } from '../../src/server/index.ts'
import { ROLE_WORDS, SCOPE_NAMES, SCOPES, TOKEN_ROLES } from '../../src/vault/rights.ts'

const FILE = resolve(import.meta.dirname, '../../docs/guides/access.md')

/** A table as the formatter writes it, so that it has nothing to change. */
function table(rows: readonly (readonly string[])[]): string {
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)))
  const lines = rows.map((row) => `| ${row.map((cell, i) => cell.padEnd(widths[i]!)).join(' | ')} |`)
  return [lines[0], `| ${widths.map((width) => '-'.repeat(width)).join(' | ')} |`, ...lines.slice(1)].join(
    '\n',
  )
}

function generated(): Readonly<Record<string, string>> {
  // What routes do with what they are built from is not asked here.
  const routes = apiRoutes({ vault: {}, database: {} } as Parameters<typeof apiRoutes>[0])
  return {
    roles: table([['role', 'for whoever'], ...TOKEN_ROLES.map((role) => [`\`${role}\``, ROLE_WORDS[role]])]),
    scopes: table([
      ['scope', 'may', 'least role'],
      ...SCOPE_NAMES.map((scope) => [`\`${scope}\``, SCOPES[scope].may, `\`${SCOPES[scope].role}\``]),
    ]),
    routes: table([
      ['route', 'scope', 'least role'],
      ...routes.map(({ method, path, needs }) => [
        `\`${method.toUpperCase()} ${path}\``,
        `\`${needs.scope}\``,
        `\`${SCOPES[needs.scope].role}\`${needs.wholeInstallation ? ', of the tenant `default`' : ''}`,
      ]),
    ]),
  }
}

function filledIn(text: string): string {
  return Object.entries(generated()).reduce(
    (before, [name, block]) =>
      before.replace(
        new RegExp(`(<!-- generated: ${name} -->\\n)[^]*?(<!-- end -->)`),
        (_, from: string, to: string) => `${from}\n${block}\n\n${to}`,
      ),
    text,
  )
}

/** `npx vitest run tests/docs/access.test.ts -u` writes it anew. */
it('docs/guides/access.md has the roles, scopes and routes that the code has', async () => {
  await expect(filledIn(readFileSync(FILE, 'utf8'))).toMatchFileSnapshot(FILE)
})

it('control: a role of other words, or a route that needs more, is noticed', () => {
  const text = readFileSync(FILE, 'utf8')
  for (const [from, to] of [
    [ROLE_WORDS.viewer, 'changes everything'],
    ['`POST /runs/{id}/migrate`', '`POST /runs/{id}/other`'],
    ['| `developer` |', '| `viewer`    |'],
  ] as const) {
    expect(text).toContain(from)
    expect(filledIn(text.replace(from, to))).toBe(text)
  }
})
