import { afterAll, beforeAll, expect, it } from 'vitest'
import { openServer, type ServerFixture } from './server.fixture.ts'

let server: ServerFixture
beforeAll(async () => {
  server = await openServer({ idle: true })
})
afterAll(() => server.close())

it('the state of a rotation is shown: how much is under which key, how far it is, and which node has which keys', async () => {
  const { pool } = server.deps.database
  const never = await server.get('/api/v1/master-key')
  expect(never).toMatchObject({ status: 200, json: { sealing: null, rotations: [], nodes: [] } })

  await server.vault.announceKeys()
  await pool.query(`update master_key set sealing = 'new'`)
  await pool.query(
    `insert into master_key_rotations (to_key, from_key, sealed_anew, runner, runner_until)
     values ('new', 'old', 7, 'host pid 1', clock_timestamp() + interval '1 hour')`,
  )
  const { present } = await server.vault.masterKeyState()
  const { json } = await server.get('/api/v1/master-key')
  expect(json).toEqual({
    sealing: 'new',
    sealed: expect.any(Object) as object,
    rotations: [
      {
        from: 'old',
        to: 'new',
        begunAt: expect.stringMatching(/^\d{4}-.*Z$/) as string,
        finishedAt: null,
        sealedAnew: 7,
        runner: 'host pid 1',
      },
    ],
    nodes: [{ host: expect.any(String) as string, pid: process.pid, keys: [present] }],
  })
})
