import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { DAY, systemRandom } from '../base/index.ts'
import { isTokenText, newTokenText } from './tokenText.ts'
import { USES_EVERY_MS } from './tokenUses.ts'
import { TOKENS_LISTED } from './tokenRows.ts'
import { MOST_TOKENS, OVERLAP_MS, VERIFIED_FOR_MS, type NewToken } from './tokens.ts'
import { openVaultFixture, type VaultFixture } from './vault.fixture.ts'

let fixture: VaultFixture
beforeAll(async () => {
  fixture = await openVaultFixture()
})
afterAll(() => fixture.close())
beforeEach(() => fixture.clear())

const create = (name = 'shop backend', more: Partial<NewToken> = {}) =>
  fixture.vault.tokens.create({ tenant: 'default', name, actor: 'operator:ada', ...more })
const verify = (token: string) => fixture.vault.tokens.verify(token)
const judged = (token: string) => verify(token).then(({ as }) => as)

describe('an API token', () => {
  it('is shown once, in its own form, and only its hash is stored', async () => {
    const created = await create()
    expect(created.token).toMatch(/^trs_[0-9A-Za-z]{49}$/)
    const { rows } = await fixture.database.pool.query<{ hash: Buffer; start: string }>(
      'select * from tokens',
    )
    expect(rows[0]!.hash.length).toBe(32)
    expect(rows[0]!.start).toBe(created.token.slice(0, 10))
    expect(JSON.stringify(rows)).not.toContain(created.token.slice(10, 20))
    expect(await verify(created.token)).toEqual({
      as: 'in_force',
      token: {
        tenant: 'default',
        id: created.id,
        name: 'shop backend',
        rights: { role: 'viewer' },
        expiresAt: undefined,
      },
    })
    expect((await create()).token).not.toBe(created.token)
  })

  it.each([
    '',
    'trs_',
    'Bearer trs_x',
    `trs_${'A'.repeat(43)}`,
    `trs_${'A'.repeat(49)}`,
    `trs_${'A'.repeat(10_000)}`,
    `trs_${'A'.repeat(42)}\0`,
  ])('%.20j is none', async (text) => {
    await create()
    expect(await judged(text)).toBe('unknown')
  })

  it('is told from what only looks like one by its check digits, without asking the database', async () => {
    const { token } = await create()
    expect(isTokenText(token)).toBe(true)
    const deaf = fixture.node({
      storage: {
        ...fixture.storage,
        reader: { query: () => Promise.reject(new Error('asked the database')) },
      },
    })
    await expect(deaf.tokens.verify(token)).rejects.toThrow('asked the database')
    for (const at of [4, 20, 46, 47, token.length - 1]) {
      const changed = token.slice(0, at) + (token[at] === 'x' ? 'y' : 'x') + token.slice(at + 1)
      expect(await deaf.tokens.verify(changed)).toEqual({ as: 'unknown' })
    }
    for (let i = 0; i < 100; i++) expect(isTokenText(newTokenText(systemRandom))).toBe(true)
    // Check digits of another implementation of CRC-32 and base 62 (Python 3.12: zlib.crc32, divmod).
    expect(isTokenText(`trs_${'0'.repeat(43)}2CZclj`)).toBe(true)
  })

  it('of before the check digits is good yet', async () => {
    const old = `trs_${systemRandom.bytes(32).toString('base64url')}`
    const { id } = await create()
    const { createHash } = await import('node:crypto')
    const hash = createHash('sha256').update(old).digest()
    await fixture.database.pool.query('update tokens set hash = $2, start = null where id = $1', [id, hash])
    expect(await judged(old)).toBe('in_force')
  })

  it('does not verify by its stored hash', async () => {
    await create()
    const { rows } = await fixture.database.pool.query<{ hash: Buffer }>('select hash from tokens')
    expect(await judged(`trs_${rows[0]!.hash.toString('base64url')}`)).toBe('unknown')
  })

  it('that is revoked is refused here at once, and on other nodes when their memory of it ends', async () => {
    const { token, id } = await create()
    const other = fixture.node()
    expect(await judged(token)).toBe('in_force')
    expect((await other.tokens.verify(token)).as).toBe('in_force')
    await fixture.vault.tokens.revoke('default', id, 'operator:ada')
    expect(await judged(token)).toBe('revoked')
    expect(await fixture.vault.tokens.inForce('default', id)).toBe(false)
    await fixture.clock.advance(VERIFIED_FOR_MS)
    expect((await other.tokens.verify(token)).as).toBe('revoked')
    expect(VERIFIED_FOR_MS).toBeLessThanOrEqual(30_000)
  })

  it('ends at its time to the millisecond, also where it was verified a moment before', async () => {
    const { token, id, expiresAt } = await create('ci', { lifeMs: 30 * DAY })
    expect(expiresAt!.getTime()).toBe(fixture.clock.now() + 30 * DAY)
    await fixture.clock.advance(30 * DAY - 1)
    expect(await judged(token)).toBe('in_force')
    expect(await fixture.vault.tokens.inForce('default', id)).toBe(true)
    await fixture.clock.advance(1)
    expect(await verify(token)).toMatchObject({ as: 'expired', at: expiresAt, token: { id } })
    expect(await fixture.vault.tokens.inForce('default', id)).toBe(false)
    await expect(create('ci', { lifeMs: 0 })).rejects.toMatchObject({ code: 'token_expiry_invalid' })
    await expect(create('ci', { lifeMs: Number.NaN })).rejects.toMatchObject({ code: 'token_expiry_invalid' })
    await expect(create('ci', { lifeMs: 4000 * DAY })).rejects.toMatchObject({ code: 'token_expiry_invalid' })
  })

  it('works at once, though it was tried before it was made', async () => {
    const { token, id } = await create()
    await fixture.database.pool.query('update tokens set revoked_at = now() where id = $1', [id])
    expect(await judged(token)).toBe('revoked')
    await fixture.database.pool.query('update tokens set revoked_at = null where id = $1', [id])
    expect(await judged(token)).toBe('in_force')
  })

  it('is listed with its beginning and its rights, never with itself, and stays in the list', async () => {
    const { token, id } = await create()
    await create('second', { grants: { role: 'operator', scopes: ['runs:retry'] }, lifeMs: DAY })
    await fixture.vault.tokens.revoke('default', id, 'operator:ada')
    const listed = await fixture.vault.tokens.list('default')
    expect(listed).toMatchObject([
      {
        name: 'shop backend',
        start: token.slice(0, 10),
        createdBy: 'operator:ada',
        revokedAt: expect.any(Date),
      },
      { name: 'second', rights: { role: 'operator', scopes: ['runs:retry'] }, lastUsedAt: undefined },
    ])
    expect(JSON.stringify(listed)).not.toContain(token)
    expect(await fixture.vault.tokens.list('other')).toEqual([])
  })

  it('is created, rotated and revoked on the record, with what it may', async () => {
    const { id } = await create('ci', { grants: { role: 'operator', scopes: ['runs:retry'] } })
    const { made } = await fixture.vault.tokens.rotate('default', id, { actor: 'operator:bob' })
    await fixture.vault.tokens.revoke('default', id, 'operator:ada')
    const rights = { role: 'operator', scopes: ['runs:retry'], expiresAt: 'never' }
    expect(await fixture.entries()).toMatchObject([
      { action: 'token.created', target: id, actor: 'operator:ada', detail: { name: 'ci', ...rights } },
      { action: 'token.rotated', target: id, actor: 'operator:bob', detail: { by: made.id, ...rights } },
      { action: 'token.revoked', target: id, actor: 'operator:ada' },
    ])
    const all = JSON.stringify(await fixture.entries())
    expect(all).not.toContain(made.token)
  })

  it('cannot be revoked twice, nor by another tenant, nor be nameless', async () => {
    const { id } = await create()
    const { tokens } = fixture.vault
    await expect(tokens.revoke('other', id, 'operator:eve')).rejects.toMatchObject({ code: 'not_found' })
    await tokens.revoke('default', id, 'operator:ada')
    await expect(tokens.revoke('default', id, 'operator:ada')).rejects.toMatchObject({ code: 'not_found' })
    await expect(create('  ')).rejects.toMatchObject({ code: 'token_name_invalid' })
    await expect(create('a\0b')).rejects.toMatchObject({ code: 'token_name_invalid' })
  })

  it('is not made beyond 1,000 in force, and all in force are listed', async () => {
    const fill = (from: number, to: number, state: string): Promise<unknown> =>
      fixture.database.pool.query(
        `insert into tokens (tenant, id, name, hash, revoked_at)
         select 'default', 'tok_' || lpad(n::text, 6, '0'), 'n', sha256(n::text::bytea), ${state}
         from generate_series(${from}, ${to}) n`,
      )
    await fill(1, MOST_TOKENS - 1, 'null')
    await fill(MOST_TOKENS, MOST_TOKENS + TOKENS_LISTED, 'now()')
    const last = await create('last')
    await expect(create('beyond')).rejects.toMatchObject({ code: 'state_conflict' })
    const listed = await fixture.vault.tokens.list('default')
    expect(listed).toHaveLength(TOKENS_LISTED)
    expect(listed.filter(({ revokedAt }) => revokedAt === undefined)).toHaveLength(MOST_TOKENS)
    await fixture.vault.tokens.revoke('default', last.id, 'operator:ada')
    await create('again')
  })

  it('does not exist if its ledger entry cannot be written', async () => {
    const failing = fixture.node({ record: () => Promise.reject(new Error('no ledger')) })
    await expect(failing.tokens.create({ tenant: 'default', name: 'x', actor: 'system' })).rejects.toThrow(
      'no ledger',
    )
    expect(await fixture.vault.tokens.list('default')).toEqual([])
  })
})

describe('the rotation of a token', () => {
  const rotate = (id: string, more = {}) =>
    fixture.vault.tokens.rotate('default', id, { actor: 'operator:ada', ...more })

  it('gives one of the same rights and life, and both are good for a while', async () => {
    const old = await create('ci', { grants: { role: 'operator', scopes: ['runs:retry'] }, lifeMs: 30 * DAY })
    await fixture.clock.advance(10 * DAY)
    const { made, old: ending } = await rotate(old.id)
    expect(made).toMatchObject({ name: 'ci', rights: { role: 'operator', scopes: ['runs:retry'] } })
    expect(made.expiresAt!.getTime()).toBe(fixture.clock.now() + 30 * DAY)
    expect(ending.expiresAt.getTime()).toBe(fixture.clock.now() + OVERLAP_MS)
    await fixture.clock.advance(OVERLAP_MS - 1)
    expect([await judged(old.token), await judged(made.token)]).toEqual(['in_force', 'in_force'])
    await fixture.clock.advance(1)
    expect([await judged(old.token), await judged(made.token)]).toEqual(['expired', 'in_force'])
    expect((await fixture.vault.tokens.list('default'))[0]!.replacedBy).toBe(made.id)
  })

  it('ends the old one at once where that is wished, and never lets it live longer', async () => {
    const old = await create()
    await judged(old.token) // Remembered as good.
    await rotate(old.id, { overlapMs: 0 })
    expect(await judged(old.token)).toBe('expired')
    const short = await create('short', { lifeMs: 1000 })
    const { old: ending } = await rotate(short.id, { overlapMs: DAY })
    expect(ending.expiresAt).toEqual(short.expiresAt)
  })

  it('is refused of one that is over, was rotated already, or is of another tenant', async () => {
    const old = await create()
    await rotate(old.id)
    await expect(rotate(old.id)).rejects.toMatchObject({ code: 'state_conflict' })
    const gone = await create()
    await fixture.vault.tokens.revoke('default', gone.id, 'operator:ada')
    await expect(rotate(gone.id)).rejects.toMatchObject({ code: 'state_conflict' })
    const foreign = fixture.vault.tokens.rotate('other', (await create()).id, { actor: 'operator:eve' })
    await expect(foreign).rejects.toMatchObject({ code: 'not_found' })
    await expect(rotate((await create()).id, { overlapMs: 31 * DAY })).rejects.toMatchObject({
      code: 'token_overlap_invalid',
    })
  })
})

describe('who makes a token', () => {
  it('gives no more than they have', async () => {
    const rights = { role: 'admin', scopes: ['tokens:write', 'runs:read'] } as const
    const made = await create('less', { rights, grants: { role: 'viewer', scopes: ['runs:read'] } })
    expect(made.rights).toEqual({ role: 'viewer', scopes: ['runs:read'] })
    for (const grants of [
      { role: 'viewer' },
      { role: 'admin' },
      { role: 'operator', scopes: ['runs:retry'] },
      { role: 'viewer', scopes: ['runs:read', 'events:read'] },
    ] as const)
      await expect(create('more', { rights, grants })).rejects.toMatchObject({ code: 'token_rights_beyond' })
    const strong = await create('strong', { grants: { role: 'developer' } })
    const rotation = fixture.vault.tokens.rotate('default', strong.id, { actor: 'system', rights })
    await expect(rotation).rejects.toMatchObject({ code: 'token_rights_beyond' })
    expect(await judged(strong.token)).toBe('in_force')
  })

  it('gives none that outlives their own', async () => {
    const expiresAt = new Date(fixture.clock.now() + DAY)
    expect((await create('short', { expiresAt, lifeMs: DAY })).expiresAt).toEqual(expiresAt)
    for (const lifeMs of [undefined, DAY + 1])
      await expect(create('long', { expiresAt, lifeMs })).rejects.toMatchObject({
        code: 'token_rights_beyond',
      })
  })
})

describe('the last use of tokens', () => {
  it('is written once a minute for all of them, however often they are used', async () => {
    const [a, b] = [await create('a'), await create('b')]
    let writes = 0
    const node = fixture.node({
      storage: {
        ...fixture.storage,
        reader: {
          query: (text, values) => {
            if (/\bupdate\b/.test(typeof text === 'string' ? text : text.text)) writes++
            return fixture.storage.reader.query(text as string, values)
          },
        },
      },
    })
    for (let i = 0; i < 200; i++) for (const { token } of [a, b]) await node.tokens.verify(token)
    expect(writes).toBe(0)
    await fixture.clock.advance(USES_EVERY_MS)
    expect(writes).toBe(1)
    const used = async () =>
      (await fixture.vault.tokens.list('default')).map(({ lastUsedAt }) => lastUsedAt?.getTime())
    const at = fixture.clock.now() - USES_EVERY_MS
    await expect.poll(used).toEqual([at, at])
    await node.tokens.saveUses()
    expect(writes).toBe(1)
  })

  it('is kept while the database is away, and never goes back', async () => {
    const { token } = await create()
    let away = true
    const node = fixture.node({
      storage: {
        ...fixture.storage,
        reader: {
          query: (text, values) =>
            away && /\bupdate\b/.test(text as string)
              ? Promise.reject(new Error('away'))
              : fixture.storage.reader.query(text as string, values),
        },
      },
    })
    await node.tokens.verify(token)
    await expect(node.tokens.saveUses()).rejects.toThrow('away')
    away = false
    await node.tokens.saveUses()
    const [listed] = await fixture.vault.tokens.list('default')
    expect(listed!.lastUsedAt!.getTime()).toBe(fixture.clock.now())
    await fixture.database.pool.query(`update tokens set last_used_at = '2099-01-01'`)
    await node.tokens.verify(token)
    await node.tokens.saveUses()
    expect((await fixture.vault.tokens.list('default'))[0]!.lastUsedAt!.getUTCFullYear()).toBe(2099)
  })
})
