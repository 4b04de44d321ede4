import { mkdtemp, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterEach, expect, it } from 'vitest'
import type { Checkpoint } from '../ledger/index.ts'
import { appendCheckpoint, checkpointFile, newestCheckpoint, readCheckpoints } from './checkpoints.ts'

const folders: string[] = []
afterEach(async () => {
  for (const folder of folders.splice(0)) await rm(folder, { recursive: true })
})

async function newFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'trestle-checkpoints-'))
  folders.push(folder)
  return folder
}

const checkpoint = (number: number): Checkpoint => ({
  number,
  at: 1_795_341_600_000,
  batches: 1,
  entries: 2,
  root: '00',
  previous: '00',
  keyId: 'key',
  signature: '00',
  publicKey: '00',
})

const modeOf = async (path: string): Promise<number> => (await stat(path)).mode & 0o777

it('makes .trestle for its owner alone, where nothing else made it before', async () => {
  const folder = await newFolder()
  await appendCheckpoint(folder, checkpoint(1))
  expect(await modeOf(dirname(checkpointFile(folder)))).toBe(0o700)
  expect(await modeOf(checkpointFile(folder))).toBe(0o600)
})

it('keeps checkpoints in their order', async () => {
  const folder = await newFolder()
  expect(await newestCheckpoint(folder)).toBeUndefined()
  await appendCheckpoint(folder, checkpoint(1))
  await appendCheckpoint(folder, checkpoint(2))
  expect((await readCheckpoints(folder)).map((one) => one.number)).toEqual([1, 2])
  expect(await newestCheckpoint(folder)).toEqual(checkpoint(2))
})
