import { afterAll, beforeAll, expect, it } from 'vitest'
import { MINUTE } from '../base/index.ts'
import { createTestDatabase, type TestDatabase } from '../../tests/support/database.ts'
import { startTestEngine, type TestEngine } from '../../tests/support/engine.ts'
import { flow } from '../../tests/attack/support.ts'
import { bringForward } from './index.ts'

let test: TestDatabase
let t: TestEngine
beforeAll(async () => {
  test = await createTestDatabase()
  t = await startTestEngine(test, { flows: [flow(() => 1)], idle: true })
})
afterAll(async () => {
  await t.stop()
  await test.drop()
})

it('makes due those alone that wait for the very time that they were given', async () => {
  const now = Date.now()
  const until = now + 10 * MINUTE
  const states = [
    ['waits for it', 'waiting', until],
    ['waits for another time', 'waiting', until + 1],
    ['is executed', 'running', until],
    ['is undone', 'undoing', until],
    ['ended', 'succeeded', until],
  ] as const
  const runs = new Map<string, string>()
  for (const [n, [name, state, due]] of states.entries()) {
    const { runs: made } = await t.deliver('thing.happened', { n })
    runs.set(name, made[0]!)
    await t.database.pool.query(`update runs set state = $2, due_at = $3 where id = $1`, [
      made[0],
      state,
      new Date(due),
    ])
  }
  const calls = [...runs.values()].map((runId) => ({ tenant: 'default', runId, until }))
  const brought = await bringForward(t.database.pool, calls, now)
  expect(new Set(brought.map(({ id }) => id))).toEqual(
    new Set([runs.get('waits for it'), runs.get('is undone')]),
  )
  const { rows } = await t.database.pool.query('select id from runs where due_at <= $1 and state = any($2)', [
    new Date(now),
    ['waiting', 'undoing'],
  ])
  expect(rows).toHaveLength(2)
  // Told twice, nothing happens twice.
  expect(await bringForward(t.database.pool, calls, now)).toEqual([])
})
