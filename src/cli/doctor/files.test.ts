import { chmod, mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { keptFinding, lookAtFiles, type FoundFile } from './files.ts'

let folder: string
let kept: string
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'trestle-files-'))
  kept = join(folder, '.trestle')
  await mkdir(kept)
  await chmod(kept, 0o755)
})
afterEach(() => rm(folder, { recursive: true, force: true }))

async function put(name: string, mode: number): Promise<void> {
  await writeFile(join(folder, name), 'x')
  await chmod(join(folder, name), mode)
}

describe('the doctor, of files in .trestle', () => {
  it('finds nothing wrong where each is closed', async () => {
    await put('.trestle/master.key', 0o600)
    await put('.env', 0o600)
    expect(await lookAtFiles(folder)).toMatchObject([
      { level: 'ok', what: '.env', found: 'mode 600' },
      { level: 'ok', what: '.trestle', found: 'mode 755, and nothing in it is open to others' },
    ])
  })

  it.each([0o644, 0o640, 0o604, 0o620])(
    'names one with mode %o, however deep, and says what to do',
    async (mode) => {
      await mkdir(join(kept, 'alerts'))
      await chmod(join(kept, 'alerts'), 0o755)
      await put('.trestle/alerts/secret', mode)
      expect(await lookAtFiles(folder)).toEqual([
        {
          level: 'warn',
          what: '.trestle',
          found: `other users can reach .trestle/alerts/secret (mode ${mode.toString(8)})`,
          todo: `chmod -R go= ${kept}`,
        },
      ])
    },
  )

  it('counts further ones', async () => {
    for (const name of ['a', 'b', 'c']) await put(`.trestle/${name}`, 0o644)
    const [finding] = await lookAtFiles(folder)
    expect(finding!.found).toMatch(/\(mode 644\) and 2 more$/)
  })

  it('minds no mode within a folder that nobody else can enter, and leaves the one of PostgreSQL to it', async () => {
    await put('.trestle/checkpoints.jsonl', 0o644)
    await chmod(kept, 0o700)
    expect(await lookAtFiles(folder)).toMatchObject([{ level: 'ok' }])
    await chmod(kept, 0o755)
    await rm(join(kept, 'checkpoints.jsonl'))
    await mkdir(join(kept, 'postgres'))
    await put('.trestle/postgres/PG_VERSION', 0o644)
    expect(await lookAtFiles(folder)).toMatchObject([{ level: 'ok' }])
  })

  it('looks at what a link leads to, also from a closed folder', async () => {
    await put('elsewhere', 0o644)
    await symlink(join(folder, 'elsewhere'), join(kept, 'master.key'))
    await chmod(kept, 0o700)
    expect(await lookAtFiles(folder)).toMatchObject([{ level: 'warn' }])
    await chmod(join(folder, 'elsewhere'), 0o600)
    expect(await lookAtFiles(folder)).toMatchObject([{ level: 'ok' }])
  })

  it('warns of a folder that others can write into: they could put another key there', async () => {
    await chmod(kept, 0o777)
    expect(await lookAtFiles(folder)).toMatchObject([{ level: 'warn', todo: `chmod 700 ${kept}` }])
  })

  it('fails where one belongs to another user', () => {
    const own: FoundFile = { name: '.trestle', path: kept, kind: 'folder', mode: 0o755, owner: 1000 }
    const key: FoundFile = { name: '.trestle/master.key', path: '', kind: 'file', mode: 0o600, owner: 1001 }
    expect(keptFinding(own, [key], 1000)).toMatchObject({
      level: 'fail',
      found: expect.stringContaining('.trestle/master.key belongs to another user (uid 1001)') as string,
    })
    // Root reads everything, and runs for others.
    expect(keptFinding(own, [key], 0).level).toBe('ok')
  })
})
