import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { startChild, type Child } from '../../bench/parts/child.ts'
import { playRotation } from '../../bench/parts/rotation.ts'
import { compileEntries } from '../crash/build.ts'
import { createTestDatabase, type TestDatabase } from '../support/database.ts'

let database: TestDatabase
let compiled: URL
const children: Child[] = []
beforeAll(async () => {
  const [test, entries] = await Promise.all([createTestDatabase(), compileEntries()])
  database = test
  compiled = pathToFileURL(join(entries, '..', '..', 'bench', 'parts', 'child.js'))
})
afterAll(async () => {
  for (const child of children) child.kill('SIGKILL')
  await database.drop()
})

it('a rotation that is killed in the middle is carried on by another process, and no reader meets a secret that does not open', async () => {
  const figures = await playRotation({
    databaseUrl: database.url,
    secrets: 9_000,
    readers: 2,
    endLease: true,
    start: async (name, given) => {
      const child = await startChild(name, given, compiled)
      children.push(child)
      return child
    },
  })
  expect(figures).toMatchObject({ leftUnderFormerKey: 0, failedReads: 0, failedWrites: 0 })
  expect(figures).not.toHaveProperty('said')
  // The value that was held until then is one more.
  expect(figures.killedAt).toBeLessThanOrEqual(9_000)
  expect(figures.reads).toBeGreaterThan(0)
})
