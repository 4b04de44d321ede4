import { readdirSync, readFileSync, statSync } from 'node:fs'
import { dirname, join, relative, resolve } from 'node:path'
import { describe, expect, it } from 'vitest'

const ROOT = resolve(import.meta.dirname, '..')

/** Rows of the table in ARCHITECTURE.md. */
function readRows(text: string): Map<string, number> {
  const rows = new Map<string, number>()
  for (const [, row, folders] of text.matchAll(/^\| (\d+) +\| (.+?) +\|$/gm))
    for (const folder of folders!.split(' · ')) rows.set(folder.trim(), Number(row))
  return rows
}

function filesBelow(folder: string): string[] {
  return readdirSync(folder).flatMap((name) => {
    const path = join(folder, name)
    if (name === 'node_modules' || name === 'dist' || name.startsWith('.')) return []
    if (statSync(path).isDirectory()) return filesBelow(path)
    return name.endsWith('.ts') ? [path] : []
  })
}

function importsOf(source: string): string[] {
  const withoutComments = source.replace(/\/\*[\s\S]*?\*\//g, '').replace(/^\s*\/\/.*$/gm, '')
  return [
    ...withoutComments.matchAll(
      /(?:^|\n)\s*(?:import|export)\s[^'"`;]*?from\s*['"]([^'"]+)['"]|import\(\s*['"]([^'"]+)['"]|(?:^|\n)\s*import\s+['"]([^'"]+)['"]/g,
    ),
  ].map((match) => (match[1] ?? match[2] ?? match[3])!)
}

const isTest = (file: string): boolean => /\.(test|fixture)\.ts$|\/fixtures\//.test(file)
const rows = readRows(readFileSync(join(ROOT, 'ARCHITECTURE.md'), 'utf8'))
const src = join(ROOT, 'src')
const production = filesBelow(src).filter((file) => !isTest(file))
const folderOf = (file: string): string => relative(src, file).split('/')[0]!

/** What is wrong with an import, or undefined. */
function wrongImport(file: string, specifier: string): string | undefined {
  const from = folderOf(file)
  if (!specifier.startsWith('.')) return undefined
  const target = resolve(dirname(file), specifier)
  const to = folderOf(target)
  if (relative(src, target).startsWith('..'))
    return to === '..' && target.endsWith('package.json')
      ? undefined
      : `imports ${relative(ROOT, target)}, outside src`
  if (from === to) return undefined
  if (to === 'testing') return 'imports the test kit'
  const [fromRow, toRow] = [rows.get(from), rows.get(to)]
  if (from === 'testing' || from === 'index.ts') return undefined
  if (fromRow === undefined || toRow === undefined)
    return `${fromRow === undefined ? from : to} is not in the table of ARCHITECTURE.md`
  if (toRow >= fromRow) return `${from} (row ${fromRow}) imports ${to} (row ${toRow})`
  if (!target.endsWith('/index.ts')) return `imports ${relative(src, target)} instead of ${to}/index.ts`
  return undefined
}

describe('the architecture', () => {
  it('is what the table in ARCHITECTURE.md says', () => {
    expect(rows.size).toBeGreaterThan(10)
    const wrong = production.flatMap((file) =>
      importsOf(readFileSync(file, 'utf8')).flatMap((specifier) => {
        const what = wrongImport(file, specifier)
        return what === undefined ? [] : [`${relative(ROOT, file)} ${what}`]
      }),
    )
    expect(wrong).toEqual([])
  })

  it('has every folder of src in the table, and no row without a folder', () => {
    const folders = readdirSync(src).filter(
      (name) => statSync(join(src, name)).isDirectory() && name !== 'testing',
    )
    expect(folders.toSorted()).toEqual([...rows.keys()].toSorted())
  })

  it('opens each folder with what it owns', () => {
    const silent = [...rows.keys()]
      .filter((folder) => folder !== 'cli')
      .filter((folder) => !/^\/\*\*[\s\S]*?\*\//.test(readFileSync(join(src, folder, 'index.ts'), 'utf8')))
    expect(silent).toEqual([])
  })

  it('lets connectors and examples use only what users can import', () => {
    const wrong = ['connectors', 'examples'].flatMap((name) =>
      filesBelow(join(ROOT, name))
        .filter((file) => !isTest(file))
        .flatMap((file) =>
          importsOf(readFileSync(file, 'utf8'))
            .filter((specifier) => {
              if (!specifier.startsWith('.'))
                return (
                  specifier.startsWith('trestle/') &&
                  !/^trestle\/(testing|connectors\/[a-z-]+(\/(twin|stand-in))?)$/.test(specifier)
                )
              const top = join(ROOT, relative(ROOT, file).split('/').slice(0, 2).join('/'))
              return relative(top, resolve(dirname(file), specifier)).startsWith('..')
            })
            .map((specifier) => `${relative(ROOT, file)} imports ${specifier}`),
        ),
    )
    expect(wrong).toEqual([])
  })

  it.each([
    [
      'the clock and randomness',
      /\bDate\.now\(\)|new Date\(\)|Math\.random\(\)|\bset(Timeout|Interval)\(|randomBytes\(|randomUUID\(|performance\.now\(\)/,
      new Set(['base', 'testing']),
    ],
    [
      'the network',
      /from 'undici'|from 'node:(net|tls|https|http2|dgram)'|import (?:\w+|\* as \w+|\{[^}]*\b(?:request|get|Agent|ClientRequest)\b[^}]*\}) from 'node:http'|(?<!\.)\bfetch\(|new (?:WebSocket|EventSource)\(/,
      new Set(['egress', 'testing']),
    ],
  ])('reads %s in one folder only', (_, pattern, allowed) => {
    const known = new Set([
      // The port search and the watch of the embedded server.
      'src/db/embedded/server.ts',
      'src/runtime/watchdog.ts',
      'src/runtime/watchdogThread.ts',
      // What a simulated node's database answers goes through it, on this machine.
      'src/prove/simulation/databaseLine.ts',
      // A text that runs in the browser.
      'src/server/live/script.ts',
    ])
    const wrong = production
      .filter((file) => !allowed.has(folderOf(file)) && !known.has(relative(ROOT, file)))
      .flatMap((file) => {
        const source = readFileSync(file, 'utf8')
          .replace(/\/\*[\s\S]*?\*\//g, '')
          .replace(/\/\/.*$/gm, '')
          .replace(/^import type .*$/gm, '')
        const found = pattern.exec(source)
        return found ? [`${relative(ROOT, file)}: ${found[0]}`] : []
      })
    expect(wrong).toEqual([])
  })

  it('notices an import that goes up, sideways or past an index', () => {
    const file = join(src, 'inbox', 'inbox.ts')
    expect(wrongImport(file, '../flows/index.ts')).toContain('row 5')
    expect(wrongImport(file, '../calls/index.ts')).toContain('row 4')
    expect(wrongImport(file, '../ledger/write.ts')).toContain('instead of ledger/index.ts')
    expect(wrongImport(file, '../ledger/index.ts')).toBeUndefined()
  })
})
