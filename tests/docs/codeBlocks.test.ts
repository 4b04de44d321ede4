/**
 * Code in documents compiles. A block of TypeScript whose first line names a file (`// flows/first.ts`) is a whole
 * file and is type-checked with the others of its document, as if it stood at that place in this repository. Blocks
 * without such a line are excerpts and are left alone.
 */
import { execFile } from 'node:child_process'
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, describe, expect, it } from 'vitest'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const WHOLE_FILE = /^```ts\n\/\/ (?<path>[\w./-]+\.ts)\n(?<code>[\s\S]*?)^```$/gm

const folders: string[] = []
afterAll(() => {
  for (const folder of folders) rmSync(folder, { recursive: true })
})

/** Files written in a document, by their paths. */
function filesIn(text: string): Map<string, string> {
  const files = new Map<string, string>()
  for (const { groups } of text.matchAll(WHOLE_FILE))
    files.set(groups?.['path'] ?? '', groups?.['code'] ?? '')
  return files
}

/** What the compiler says about these files; empty where it is content. */
async function complaints(files: ReadonlyMap<string, string>): Promise<string> {
  const folder = mkdtempSync(join(tmpdir(), 'trestle-docs-'))
  folders.push(folder)
  writeFileSync(join(folder, 'package.json'), JSON.stringify({ type: 'module' }))
  symlinkSync(join(ROOT, 'node_modules'), join(folder, 'node_modules'))
  for (const [path, code] of files) {
    mkdirSync(dirname(join(folder, path)), { recursive: true })
    writeFileSync(join(folder, path), code)
  }
  writeFileSync(
    join(folder, 'tsconfig.json'),
    JSON.stringify({
      extends: join(ROOT, 'tsconfig.json'),
      compilerOptions: {
        // Relative imports see both the document's files and the repository's.
        rootDirs: [folder, ROOT],
        typeRoots: [join(ROOT, 'node_modules/@types')],
        paths: {
          trestle: [join(ROOT, 'src/index.ts')],
          'trestle/testing': [join(ROOT, 'src/testing/index.ts')],
          'trestle/connectors/*/twin': [join(ROOT, 'connectors/*/twin.ts')],
          'trestle/connectors/*': [join(ROOT, 'connectors/*/index.ts')],
        },
      },
      include: [],
      files: [...files.keys()],
    }),
  )
  const said = await new Promise<string>((resolve) => {
    execFile(
      process.execPath,
      [join(ROOT, 'node_modules/typescript/bin/tsc'), '-p', folder],
      { cwd: folder },
      (_, out) => resolve(out),
    )
  })
  const own = [...files.keys()]
  return said
    .split('\n')
    .filter((line) => own.some((path) => line.startsWith(`${path}(`)) || line.startsWith('error '))
    .join('\n')
}

function documents(): string[] {
  const here = (folder: string): string[] =>
    existsSync(join(ROOT, folder))
      ? readdirSync(join(ROOT, folder), { withFileTypes: true, recursive: folder === 'docs' })
          .filter((entry) => entry.isFile() && entry.name.endsWith('.md'))
          .map((entry) => relative(ROOT, join(entry.parentPath, entry.name)))
      : []
  const connectors = readdirSync(join(ROOT, 'connectors')).map((name) => `connectors/${name}`)
  return ['.', 'docs', ...connectors].flatMap(here).sort()
}

describe('code in documents', () => {
  const withFiles = documents()
    .map((path) => [path, filesIn(readFileSync(join(ROOT, path), 'utf8'))] as const)
    .filter(([, files]) => files.size > 0)

  it('is there', () => {
    expect(withFiles.map(([path]) => path)).toContain('AGENTS.md')
  })

  it.each(withFiles)('of %s compiles', async (_path, files) => {
    expect(await complaints(files)).toBe('')
  })

  it('is found wanting when it is wrong', async () => {
    const text =
      "```ts\n// flows/wrong.ts\nimport { defineFlow } from 'trestle'\ndefineFlow({ name: 5 })\n```\n"
    expect(await complaints(filesIn(text))).toMatch(/^flows\/wrong\.ts\(2,/)
  })
})
