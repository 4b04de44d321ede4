import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { systemClock } from '../../base/index.ts'
import { isSource, watchFiles, type FileWatch } from './watchFiles.ts'

let folder: string
let watch: FileWatch | undefined
let next: (paths: readonly string[]) => void

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'trestle-watch-'))
  for (const name of ['flows', 'node_modules', '.trestle']) mkdirSync(join(folder, name))
})
afterEach(() => {
  watch?.stop()
  rmSync(folder, { recursive: true })
})

/** The next change that is told. */
function told(): Promise<readonly string[]> {
  return new Promise((resolve) => {
    next = resolve
  })
}

function start(): void {
  watch = watchFiles({ folder, clock: systemClock, onChange: (paths) => next(paths) })
}

const write = (path: string): void => writeFileSync(join(folder, path), '')

describe('watching files', () => {
  it('tells of several changes once, when it has become quiet', async () => {
    start()
    const change = told()
    write('trestle.config.ts')
    write('flows/a.ts')
    write('flows/a.ts')
    write('.env')
    expect(await change).toEqual(['.env', 'flows/a.ts', 'trestle.config.ts'])
  })

  it('leaves alone what others write: packages, the database, drafts of editors', async () => {
    start()
    const change = told()
    write('node_modules/a.ts')
    write('.trestle/a.json')
    write('flows/.#a.ts')
    write('flows/a.ts~')
    write('notes.md')
    write('flows/last.ts')
    expect(await change).toEqual(['flows/last.ts'])
  })

  it('sees folders that are made later', async () => {
    start()
    const first = told()
    mkdirSync(join(folder, 'flows/orders'))
    write('flows/seen.ts')
    await first
    const change = told()
    write('flows/orders/paid.ts')
    expect(await change).toEqual(['flows/orders/paid.ts'])
  })
})

it.each([
  ['a.ts', true],
  ['a.mts', true],
  ['a.js', true],
  ['package.json', true],
  ['.env', true],
  ['.env.example', false],
  ['a.md', false],
  ['a.ts.swp', false],
])('%s is read at a start: %s', (name, read) => {
  expect(isSource(name)).toBe(read)
})
