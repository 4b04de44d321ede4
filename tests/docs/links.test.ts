/** Every relative link in a document leads to a file, and every anchor to a heading. */
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { dirname, join, relative, resolve } from 'node:path'
import { describe, expect, it } from 'vitest'

const ROOT = resolve(import.meta.dirname, '../..')
const LEFT_OUT = new Set(['node_modules', 'dist', '.git', '.trestle'])

function documentsBelow(folder: string): string[] {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const path = join(folder, entry.name)
    if (entry.isDirectory()) return LEFT_OUT.has(entry.name) ? [] : documentsBelow(path)
    return entry.name.endsWith('.md') ? [path] : []
  })
}

/** Code shows links of other files, and of none. */
const withoutCode = (text: string): string =>
  text.replace(/^(`{3,}|~{3,})[\s\S]*?^\1/gm, '').replace(/`[^`\n]*`/g, '')

/** Targets of `[text](target)`, `![text](target)`, `<img src="target">` and `[name]: target`. */
function linksOf(text: string): string[] {
  const prose = withoutCode(text)
  return [
    ...prose.matchAll(/\]\(\s*<?([^)\s>]+)>?(?:\s+"[^"]*")?\s*\)/g),
    ...prose.matchAll(/\b(?:src|href|srcset)="([^"]+)"/g),
    ...prose.matchAll(/^\[[^\]]+\]:\s*(\S+)/gm),
  ].map((match) => match[1]!)
}

/** Anchors of a document's headings, as GitHub makes them: a repeated one gets `-1`, `-2`, …. */
function anchorsOf(text: string): Set<string> {
  const anchors = new Set<string>()
  for (const [, heading = ''] of text.replace(/^```[\s\S]*?^```/gm, '').matchAll(/^#{1,6} +(.+?) *#*$/gm)) {
    const name = heading
      .toLowerCase()
      .replace(/[^\p{L}\p{N} _-]/gu, '')
      .replaceAll(' ', '-')
    let anchor = name
    for (let again = 1; anchors.has(anchor); again++) anchor = `${name}-${again}`
    anchors.add(anchor)
  }
  return anchors
}

/** What is wrong with a link of a document, or undefined. Addresses of other machines are not asked for. */
function wrongLink(document: string, target: string): string | undefined {
  if (/^[a-z][a-z0-9+.-]*:/i.test(target)) return undefined
  const [path = '', anchor] = target.split('#')
  const file = path === '' ? document : resolve(dirname(document), decodeURIComponent(path))
  if (relative(ROOT, file).startsWith('..')) return `${target} leads out of the repository`
  if (!existsSync(file)) return `${target} leads to nothing`
  if (anchor === undefined || statSync(file).isDirectory() || !file.endsWith('.md')) return undefined
  return anchorsOf(readFileSync(file, 'utf8')).has(anchor)
    ? undefined
    : `${target}: there is no such heading in ${relative(ROOT, file)}`
}

describe('relative links in documents', () => {
  const documents = documentsBelow(ROOT)

  it('lead to files and headings that are there', () => {
    expect(documents.length).toBeGreaterThan(10)
    const links = documents.flatMap((document) =>
      linksOf(readFileSync(document, 'utf8')).map((target) => [document, target] as const),
    )
    expect(links.length).toBeGreaterThan(20)
    const wrong = links.flatMap(([document, target]) => {
      const what = wrongLink(document, target)
      return what === undefined ? [] : [`${relative(ROOT, document)}: ${what}`]
    })
    expect(wrong).toEqual([])
  })

  it('are found wanting when they lead nowhere', () => {
    const document = join(ROOT, 'CONTRIBUTING.md')
    const text = [
      'See [the guide](docs/missing.md) and ![a picture](<docs/missing.svg>), [here](#nowhere).',
      '<img src="docs/gone.png"> [else](https://example.com/nothing) `[no](docs/code.md)`',
      '```md\n[no](docs/code.md)\n```',
      '[reference]: docs/reference.md',
    ].join('\n\n')
    expect(linksOf(text).flatMap((target) => wrongLink(document, target) ?? [])).toEqual([
      'docs/missing.md leads to nothing',
      'docs/missing.svg leads to nothing',
      '#nowhere: there is no such heading in CONTRIBUTING.md',
      'docs/gone.png leads to nothing',
      'docs/reference.md leads to nothing',
    ])
    expect(wrongLink(document, 'CONTRIBUTING.md#tests-that-can-fail')).toBeUndefined()
    expect(wrongLink(document, '../elsewhere.md')).toContain('out of the repository')
  })
})
