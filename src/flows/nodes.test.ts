import { expect, it } from 'vitest'
import { createTestDatabase } from '../../tests/support/database.ts'
import { systemClock } from '../base/index.ts'
import { openDatabase } from '../db/index.ts'
import { ensurePartitions, writeEntries } from '../ledger/index.ts'
import { registerNode, rescueRuns } from './nodes.ts'

it('a node that stood still right after its heartbeat takes others for dead, and not itself', async () => {
  const testDatabase = await createTestDatabase()
  const database = openDatabase({ url: testDatabase.url, max: 2 })
  try {
    await ensurePartitions(database.pool, systemClock.now())
    const [self, other] = [
      await registerNode(database.pool, ['worker'], 'test'),
      await registerNode(database.pool, ['worker'], 'test'),
    ]
    await database.pool.query(`update nodes set heartbeat_at = now() - interval '1 minute'`)
    const deps = { database, clock: systemClock, writeEntries, wake: () => Promise.resolve() }
    const living = async (): Promise<readonly string[]> => {
      const { rows } = await database.pool.query<{ id: string }>(
        'select id from nodes where stopped_at is null',
      )
      return rows.map(({ id }) => id)
    }
    await rescueRuns({ ...deps, self })
    expect(await living()).toEqual([self])
    await rescueRuns({ ...deps, self: other })
    expect(await living()).toEqual([])
  } finally {
    await database.close()
    await testDatabase.drop()
  }
})
