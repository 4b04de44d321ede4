import { afterAll, beforeAll, expect, it } from 'vitest'
import { createTestDatabase, type TestDatabase } from '../../../tests/support/database.ts'
import { openDatabase, type Database } from '../../db/index.ts'
import { disk, roomOnDisk, type Room } from './disk.ts'

const NOW = Date.UTC(2026, 10, 22, 9)
let test: TestDatabase
let database: Database
beforeAll(async () => {
  test = await createTestDatabase()
  database = openDatabase({ url: test.url })
})
afterAll(async () => {
  await database.close()
  await test.drop()
})

const looking = () => ({ client: database.pool, tenant: 'default', now: NOW })

it('tells of the disk under the database from 85 % on, until less than 80 % is used', async () => {
  const room: { now: Room | undefined } = { now: { free: 15.1e9, used: 84.9e9 } }
  const asked: string[] = []
  const detector = disk((folder) => {
    asked.push(folder)
    return Promise.resolve(room.now)
  })
  expect(await detector.look(looking())).toEqual([])
  room.now = { free: 15e9, used: 85e9 }
  const [found] = await detector.look(looking())
  expect(found).toMatchObject({
    kind: 'disk',
    subject: asked[0],
    what: `The disk that holds the database (${asked[0]}) is 85 % full: 15.0 GB are left.`,
  })

  await database.pool.query(
    `insert into incidents (tenant, id, kind, subject, title, what, holds_up, todo, since, opened_at, updated_at)
     values ('default', 'inc_1', 'disk', $1, '', '', '', '', now(), now(), now())`,
    [asked[0]],
  )
  room.now = { free: 20e9, used: 80e9 }
  expect(await detector.look(looking())).toHaveLength(1)
  room.now = { free: 21e9, used: 79e9 }
  expect(await detector.look(looking())).toEqual([])
  room.now = undefined // Of a disk that cannot be seen nothing is said.
  expect(await detector.look(looking())).toEqual([])
})

it('finds the folder of the server on this machine, and reads how full its disk is', async () => {
  const found: (Room | undefined)[] = []
  const { rows } = await database.pool.query<{ folder: string }>(
    `select current_setting('data_directory') as folder`,
  )
  await disk(async (folder) => {
    expect(folder).toBe(rows[0]!.folder)
    found.push(await roomOnDisk(folder))
    return undefined
  }).look(looking())
  expect(found).toEqual([{ free: expect.any(Number) as number, used: expect.any(Number) as number }])
  expect(await roomOnDisk('/nowhere')).toBeUndefined()
})
