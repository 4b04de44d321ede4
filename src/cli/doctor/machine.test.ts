import { chmod, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { systemRandom } from '../../base/index.ts'
import { lookAtMasterKey } from './machine.ts'

let folder: string
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'trestle-machine-'))
  await mkdir(join(folder, '.trestle'), { mode: 0o700 })
})
afterEach(() => rm(folder, { recursive: true, force: true }))

const strong = systemRandom.bytes(32).toString('base64')
const weak = Buffer.from('correct horse battery staple 42!').toString('base64')

it('the doctor is content with a random master key, and never shows it', async () => {
  const finding = await lookAtMasterKey(folder, { TRESTLE_MASTER_KEY: strong })
  expect(finding).toMatchObject({ level: 'ok', found: 'from TRESTLE_MASTER_KEY' })
})

it('warns of one that can be guessed, from the environment or the file, and says how to make another', async () => {
  const file = join(folder, '.trestle', 'master.key')
  await writeFile(file, `${weak}\n`, { mode: 0o600 })
  const findings = [
    await lookAtMasterKey(folder, {}),
    await lookAtMasterKey(folder, { TRESTLE_MASTER_KEY: weak }),
  ]
  for (const [i, from] of [file, 'TRESTLE_MASTER_KEY'].entries())
    expect(findings[i]).toMatchObject({
      level: 'warn',
      found: `${from} is text, not random bytes: it can be guessed`,
      todo: expect.stringContaining('openssl rand -base64 32') as string,
    })
  expect(JSON.stringify(findings)).not.toContain(weak)
})

it.each(['hunter2', `${strong}x`, 'ab'.repeat(31)])(
  'fails where it has not the form of a key (%#), and says what form that is',
  async (value) => {
    const finding = await lookAtMasterKey(folder, { TRESTLE_MASTER_KEY: value })
    expect(finding).toMatchObject({ level: 'fail', todo: expect.stringContaining('32 bytes') as string })
    expect(JSON.stringify(finding)).not.toContain(value)
  },
)

it('fails where others can read the file, and where there is none', async () => {
  expect(await lookAtMasterKey(folder, {})).toMatchObject({ level: 'fail', found: 'there is none' })
  const file = join(folder, '.trestle', 'master.key')
  await writeFile(file, strong)
  await chmod(file, 0o644)
  expect(await lookAtMasterKey(folder, {})).toMatchObject({
    level: 'fail',
    todo: expect.stringContaining(`chmod 600 ${file}`) as string,
  })
})
