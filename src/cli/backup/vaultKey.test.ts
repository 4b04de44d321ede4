import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { systemRandom } from '../../base/index.ts'
import type { BackupManifest } from '../../db/index.ts'
import { requireMasterKey } from './vaultKey.ts'

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'trestle-key-'))
})
afterAll(() => rm(folder, { recursive: true, force: true }))

const text = (): string => systemRandom.bytes(32).toString('base64')
const backupOf = (...masterKeys: string[]): BackupManifest => ({ masterKeys }) as unknown as BackupManifest

it("the vault's key is asked for before anything else, and another one is refused by name", async () => {
  const value = text()
  const { key } = await requireMasterKey(folder, { TRESTLE_MASTER_KEY: value }, backupOf())
  const sealed = backupOf(key.wrapper.id)
  await expect(requireMasterKey(folder, { TRESTLE_MASTER_KEY: value }, sealed)).resolves.toBeDefined()
  await expect(requireMasterKey(folder, {}, sealed)).rejects.toMatchObject({ code: 'master_key_missing' })
  const other = requireMasterKey(folder, { TRESTLE_MASTER_KEY: text() }, sealed)
  await expect(other).rejects.toMatchObject({ code: 'master_key_wrong' })
  await expect(other).rejects.toThrow(
    new RegExp(`under the master key "${key.wrapper.id}".*Nothing was changed`),
  )
})
