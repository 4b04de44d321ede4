import { afterAll, beforeAll, expect, it } from 'vitest'
import { createTestDatabase, type TestDatabase } from '../../../tests/support/database.ts'
import { DAY, HOUR } from '../../base/index.ts'
import { openDatabase, type Database } from '../../db/index.ts'
import { IN_USE_MS, TOLD_AFTER_MS, tokenExpiry } from './tokenExpiry.ts'

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

const look = (now = NOW) => tokenExpiry.look({ client: database.pool, tenant: 'default', now })

async function put(
  id: string,
  token: {
    made?: number
    ends?: number
    used?: number
    revoked?: boolean
    replacedBy?: string
    tenant?: string
  },
): Promise<void> {
  const at = (ms: number | undefined): Date | null => (ms === undefined ? null : new Date(NOW + ms))
  await database.pool.query(
    `insert into tokens (tenant, id, name, hash, created_at, expires_at, last_used_at, revoked_at, replaced_by)
     values ($1, $2::text, 'ci', sha256(convert_to($2::text, 'UTF8')), $3, $4, $5, $6, $7)`,
    [
      token.tenant ?? 'default',
      id,
      at(token.made ?? -90 * DAY),
      at(token.ends),
      at(token.used ?? -HOUR),
      token.revoked ? new Date(NOW) : null,
      token.replacedBy ?? null,
    ],
  )
}

it('tells of a token in use that ends soon, and of nothing else', async () => {
  await put('tok_never', {})
  await put('tok_later', { ends: 8 * DAY })
  await put('tok_unused', { ends: DAY, used: -IN_USE_MS - HOUR })
  await put('tok_revoked', { ends: DAY, revoked: true })
  await put('tok_rotated', { ends: DAY, replacedBy: 'tok_next' })
  await put('tok_short', { made: -HOUR, ends: DAY })
  await put('tok_long_over', { ends: -TOLD_AFTER_MS - HOUR })
  await put('tok_foreign', { ends: DAY, tenant: 'other' })
  expect(await look()).toEqual([])

  await put('tok_soon', { ends: 6 * DAY })
  expect(await look()).toEqual([
    {
      kind: 'token_expiry',
      subject: 'tok_soon',
      title: 'The API token "ci" ends',
      what: 'The API token "ci" (tok_soon) ends at 2026-11-28 09:00:00 UTC. It was last used at 2026-11-22 08:00:00 UTC.',
      since: NOW - DAY,
      holdsUp: 'Nothing yet; from then on whoever uses it is answered 401.',
      todo: 'Make the next one, and put it in its place: trestle tokens rotate tok_soon',
    },
  ])
})

it('tells of a short-lived one in the last quarter of its life, and goes on for a day after its end', async () => {
  const subjects = async (now: number): Promise<readonly string[]> =>
    (await look(now)).map(({ subject }) => subject)
  expect(await subjects(NOW + 17 * HOUR)).not.toContain('tok_short')
  expect(await subjects(NOW + 18 * HOUR)).toContain('tok_short')
  const [over] = (await look(NOW + DAY + HOUR)).filter(({ subject }) => subject === 'tok_short')
  expect(over).toMatchObject({
    title: 'The API token "ci" ends',
    what: expect.stringContaining('ended at') as string,
    holdsUp: 'Whoever uses it is answered 401.',
  })
  expect(await subjects(NOW + 2 * DAY + HOUR)).not.toContain('tok_short')
})
