import { chmod, lstat, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { findPackage, placeBinaries, type BinariesPackage } from './binaries.ts'
import { runForOutput } from './command.ts'

let folder: string
let source: BinariesPackage

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'trestle-binaries-'))
})
afterEach(() => rm(folder, { recursive: true, force: true }))

const place = (...caches: string[]): ReturnType<typeof placeBinaries> =>
  placeBinaries({ package: source, caches, account: undefined })

/** A package of one small program, for what does not depend on PostgreSQL itself. */
async function smallPackage(): Promise<BinariesPackage> {
  const native = join(folder, 'package', 'native')
  await mkdir(join(native, 'bin'), { recursive: true })
  await writeFile(join(native, 'bin', 'postgres'), '#!/bin/sh\necho "postgres (PostgreSQL) 18.4"\n', {
    mode: 0o700,
  })
  return { native, name: 'small', version: '1' }
}

describe('the copy of PostgreSQL', () => {
  beforeEach(async () => {
    source = await findPackage()
  })

  it('runs, and has the links that the package leaves to its postinstall', async () => {
    const placed = await place(join(folder, 'cache'))
    expect(placed.version).toMatch(/^18\.\d+$/)
    const links = JSON.parse(await readFile(join(source.native, 'pg-symlinks.json'), 'utf8')) as {
      target: string
    }[]
    for (const { target } of links) {
      const link = join(placed.folder, target.replace(/^native\//, ''))
      expect((await lstat(link)).isSymbolicLink()).toBe(true)
    }
  })

  it('does not run without those links', async () => {
    const placed = await place(join(folder, 'cache'))
    for (const name of await readdir(join(placed.folder, 'lib'))) {
      const path = join(placed.folder, 'lib', name)
      if ((await lstat(path)).isSymbolicLink()) await rm(path)
    }
    const { code, output } = await runForOutput({
      program: 'postgres',
      args: ['--version'],
      binaries: placed,
      account: undefined,
    })
    expect([code === 0, output]).toEqual([false, expect.stringContaining('shared libraries')])
    // And that is noticed: it is replaced by a whole one.
    expect((await place(join(folder, 'cache'))).version).toBe(placed.version)
  })
})

describe('the copy of a package', () => {
  beforeEach(async () => {
    source = await smallPackage()
  })

  it('is made once by several that need it at the same moment', async () => {
    const cache = join(folder, 'cache')
    const placed = await Promise.all(Array.from({ length: 10 }, () => place(cache)))
    expect(new Set(placed.map((one) => one.folder)).size).toBe(1)
    expect(await readdir(cache)).toHaveLength(1)
  })

  it('can be run by others, whatever the modes of the package', async () => {
    const placed = await place(join(folder, 'cache'))
    expect((await lstat(join(placed.folder, 'bin', 'postgres'))).mode & 0o777).toBe(0o755)
    expect((await lstat(placed.folder)).mode & 0o777).toBe(0o755)
  })

  it('is not taken from a copy that was interrupted, which is removed', async () => {
    const cache = join(folder, 'cache')
    const left = join(cache, 'postgres-1.new-999999999-00000000')
    await mkdir(left, { recursive: true })
    await place(cache)
    await expect(lstat(left)).rejects.toMatchObject({ code: 'ENOENT' })
  })

  it('is never taken from where others could have put it', async () => {
    const open = join(folder, 'open')
    await mkdir(open)
    await chmod(open, 0o777)
    await expect(place(open)).rejects.toThrow(/written to by others/)
    expect((await place(open, join(folder, 'closed'))).folder).toContain('closed')
  })

  it('is looked for elsewhere where a cache cannot be used, and every reason is told', async () => {
    const file = join(folder, 'file')
    await writeFile(file, '')
    await expect(place(join(file, 'a'), join(file, 'b'))).rejects.toThrow(/file\/a: .*\n.*file\/b: /)
    expect((await place(join(file, 'a'), join(folder, 'good'))).folder).toContain('good')
  })
})
