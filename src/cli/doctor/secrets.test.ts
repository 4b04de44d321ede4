import { expect, it } from 'vitest'
import type { MasterKeyReport } from '../../vault/index.ts'
import { secretsFinding } from './secrets.ts'

const BEGUN = new Date('2026-11-23T04:00:00Z')
const OVER = new Date('2026-11-23T04:01:00Z')

function report(changes: Partial<MasterKeyReport>): MasterKeyReport {
  return {
    sealing: 'new',
    sealed: new Map([['new', 5]]),
    rotations: [],
    present: 'new',
    former: 'old',
    nodes: [],
    ...changes,
  }
}
const rotation = {
  from: 'old',
  to: 'new',
  begunAt: BEGUN,
  finishedAt: undefined,
  sealedAnew: 3,
  runner: undefined,
}
const sealed = new Map([
  ['new', 3],
  ['old', 2],
])

it('all is well where there was never a rotation, and where one is over and the former key is gone', () => {
  const never = { sealing: undefined, sealed: new Map([['new', 5]]), former: undefined }
  expect(secretsFinding(report(never)).level).toBe('ok')
  expect(secretsFinding(report({ ...never, sealed: new Map() })).level).toBe('ok')
  const over = { former: undefined, rotations: [{ ...rotation, finishedAt: OVER }] }
  expect(secretsFinding(report(over)).level).toBe('ok')
})

it('one that somebody is at is told, and nothing is to be done', () => {
  expect(secretsFinding(report({ sealed, rotations: [{ ...rotation, runner: 'host pid 1' }] }))).toEqual({
    level: 'ok',
    what: 'Secrets',
    found: 'the master key is being rotated: 2 are sealed under the former one still',
  })
})

it('one that was begun and left is told with how many are left, and that it is to be carried on', () => {
  expect(secretsFinding(report({ sealed, rotations: [rotation] }))).toMatchObject({
    level: 'warn',
    found: expect.stringMatching(/began 2026-11-23T04:00.* not finished: 2 are .*nobody is at it/) as string,
    todo: expect.stringContaining('trestle vault rotate') as string,
  })
})

it('secrets under a former key after it was over are told, with the name of the key', () => {
  expect(secretsFinding(report({ sealed, rotations: [{ ...rotation, finishedAt: OVER }] }))).toMatchObject({
    level: 'warn',
    found: expect.stringMatching(/^2 are sealed under "old" still/) as string,
    todo: expect.stringContaining('trestle vault rotate') as string,
  })
})

it('a rotation that is prepared is told to be begun, the first one and any after it', () => {
  const prepared = {
    level: 'warn',
    found: expect.stringMatching(/to the master key "new" is prepared and not begun/) as string,
    todo: expect.stringMatching(/every node has both keys.*trestle vault rotate/) as string,
  }
  const old = new Map([['old', 5]])
  expect(secretsFinding(report({ sealing: undefined, sealed: old }))).toMatchObject(prepared)
  const before = { ...rotation, from: 'oldest', to: 'old', finishedAt: OVER }
  expect(secretsFinding(report({ sealing: 'old', sealed: old, rotations: [before] }))).toMatchObject(prepared)
})

it('a former key that nothing needs is told to be taken away', () => {
  expect(secretsFinding(report({ rotations: [{ ...rotation, finishedAt: OVER }] }))).toMatchObject({
    level: 'warn',
    found: expect.stringContaining('is over') as string,
    todo: expect.stringMatching(/^Take TRESTLE_MASTER_KEY_PREVIOUS .*away from all nodes/) as string,
  })
})
