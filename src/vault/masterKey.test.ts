import { chmod, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { systemRandom as random } from '../base/index.ts'
import { masterKeyOf, readMasterKey } from './masterKey.ts'

const BYTES = Buffer.from(Array.from({ length: 32 }, (_, i) => 255 - i))

describe('the text of a master key', () => {
  it.each([
    ['hex', BYTES.toString('hex')],
    ['upper-case hex', BYTES.toString('hex').toUpperCase()],
    ['base64', BYTES.toString('base64')],
    ['base64url without padding', BYTES.toString('base64url')],
    ['base64 with a line break behind it', `${BYTES.toString('base64')}\n`],
  ])('may be %s, and is the same key', (_, text) => {
    expect(masterKeyOf(text, 'X', random).wrapper.id).toBe(
      masterKeyOf(BYTES.toString('hex'), 'X', random).wrapper.id,
    )
  })

  it.each([
    ['nothing', ''],
    ['a passphrase', 'correct horse battery staple'],
    ['31 bytes', BYTES.subarray(1).toString('base64')],
    ['33 bytes', Buffer.concat([BYTES, Buffer.from([1])]).toString('base64')],
    ['63 hex digits', BYTES.toString('hex').slice(1)],
    ['base64 with stray bits', `${BYTES.toString('base64url').slice(0, -1)}_`],
    ['zeros', '0'.repeat(64)],
  ])('is refused if it is %s, with the way to make one', (_, text) => {
    expect(() => masterKeyOf(text, 'TRESTLE_MASTER_KEY', random)).toThrow(
      expect.objectContaining({
        code: 'master_key_invalid',
        message: expect.stringMatching(/TRESTLE_MASTER_KEY.*openssl rand -base64 32/s) as string,
      }),
    )
  })

  it('never stands in the error about it', () => {
    const text = BYTES.toString('hex').slice(2)
    expect(() => masterKeyOf(text, 'X', random)).toThrow(expect.not.stringContaining(text) as string)
  })

  it('wraps a data key so that only it gives it back', async () => {
    const dataKey = random.bytes(32)
    const { wrapper } = masterKeyOf(BYTES.toString('hex'), 'X', random)
    const other = masterKeyOf(random.bytes(32).toString('hex'), 'X', random).wrapper
    const wrapped = await wrapper.wrap(dataKey)
    expect(await wrapper.unwrap(wrapped)).toEqual(dataKey)
    expect(wrapped.includes(dataKey)).toBe(false)
    await expect(other.unwrap(wrapped)).rejects.toThrow('authenticate')
    await expect(wrapper.unwrap(wrapped.subarray(1))).rejects.toThrow('wrong length')
  })
})

describe('finding the master key', () => {
  let folder: string
  let file: string
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'trestle-key-'))
    file = join(folder, '.trestle', 'master.key')
  })
  afterEach(() => rm(folder, { recursive: true, force: true }))

  const dev = (): Parameters<typeof readMasterKey>[0] => ({
    value: undefined,
    file,
    mayGenerate: true,
    random,
  })

  it('takes the environment first', async () => {
    const generated = await readMasterKey(dev())
    const found = await readMasterKey({ ...dev(), value: BYTES.toString('base64') })
    expect(found.from).toBe('environment')
    expect(found.key.wrapper.id).not.toBe(generated.key.wrapper.id)
  })

  it('makes one that only its owner can read, once', async () => {
    const made = await readMasterKey(dev())
    const again = await readMasterKey(dev())
    expect([made.from, again.from]).toEqual(['generated', 'file'])
    expect(again.key.wrapper.id).toBe(made.key.wrapper.id)
    expect((await stat(file)).mode & 0o777).toBe(0o600)
    expect((await stat(join(folder, '.trestle'))).mode & 0o777).toBe(0o700)
    expect(await readdir(join(folder, '.trestle'))).toEqual(['master.key'])
  })

  it('gives processes that begin at once the same key', async () => {
    const found = await Promise.all(Array.from({ length: 8 }, () => readMasterKey(dev())))
    expect(new Set(found.map((one) => one.key.wrapper.id)).size).toBe(1)
  })

  it.each([0o640, 0o604, 0o666])('refuses a file of mode %o and says how to mend it', async (mode) => {
    await readMasterKey(dev())
    await chmod(file, mode)
    await expect(readMasterKey(dev())).rejects.toMatchObject({
      code: 'master_key_exposed',
      message: expect.stringContaining(`chmod 600 ${file}`) as string,
    })
    await chmod(file, 0o600)
    expect((await readMasterKey(dev())).from).toBe('file')
  })

  it('refuses to start without one where none may be made, and makes no file', async () => {
    await expect(readMasterKey({ ...dev(), mayGenerate: false })).rejects.toMatchObject({
      code: 'master_key_missing',
      message: expect.stringContaining('TRESTLE_MASTER_KEY') as string,
    })
    await expect(readMasterKey({ value: ' ', mayGenerate: true, random })).rejects.toMatchObject({
      code: 'master_key_missing',
    })
    await expect(readFile(file)).rejects.toThrow('ENOENT')
  })

  it('refuses a damaged file instead of making another key', async () => {
    await readMasterKey(dev())
    await writeFile(file, 'cut o')
    await expect(readMasterKey(dev())).rejects.toMatchObject({
      code: 'master_key_invalid',
      message: expect.stringContaining(file) as string,
    })
    expect(await readFile(file, 'utf8')).toBe('cut o')
  })
})
