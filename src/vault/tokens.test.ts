import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { VERIFIED_FOR_MS } from './tokens.ts'
import { openVaultFixture, type VaultFixture } from './vault.fixture.ts'

let fixture: VaultFixture
beforeAll(async () => {
  fixture = await openVaultFixture()
})
afterAll(() => fixture.close())
beforeEach(() => fixture.clear())

const create = (name = 'shop backend') =>
  fixture.vault.tokens.create({ tenant: 'default', name, actor: 'operator:ada' })

describe('an API token', () => {
  it('is shown once, in its own form, and only its hash is stored', async () => {
    const created = await create()
    expect(created.token).toMatch(/^trs_[A-Za-z0-9_-]{43}$/)
    const { rows } = await fixture.database.pool.query<{ hash: Buffer }>('select * from tokens')
    expect(rows[0]!.hash.length).toBe(32)
    expect(JSON.stringify(rows)).not.toContain(created.token.slice(4))
    expect(await fixture.vault.tokens.verify(created.token)).toEqual({
      tenant: 'default',
      id: created.id,
      name: 'shop backend',
    })
    expect((await create()).token).not.toBe(created.token)
  })

  it.each([
    '',
    'trs_',
    'Bearer trs_x',
    `trs_${'A'.repeat(43)}`,
    `trs_${'A'.repeat(10_000)}`,
    `trs_${'A'.repeat(42)}\0`,
  ])('%.20j is none', async (text) => {
    await create()
    expect(await fixture.vault.tokens.verify(text)).toBeUndefined()
  })

  it('does not verify with one character changed, nor by its stored hash', async () => {
    const { token } = await create()
    for (const at of [0, 3, 4, 20, token.length - 2]) {
      const changed = token.slice(0, at) + (token[at] === 'x' ? 'y' : 'x') + token.slice(at + 1)
      expect(await fixture.vault.tokens.verify(changed)).toBeUndefined()
    }
    const { rows } = await fixture.database.pool.query<{ hash: Buffer }>('select hash from tokens')
    expect(await fixture.vault.tokens.verify(`trs_${rows[0]!.hash.toString('base64url')}`)).toBeUndefined()
  })

  it('that is revoked is refused here at once, and on other nodes when their memory of it ends', async () => {
    const { token, id } = await create()
    const other = fixture.node()
    expect(await fixture.vault.tokens.verify(token)).toBeDefined()
    expect(await other.tokens.verify(token)).toBeDefined()
    await fixture.vault.tokens.revoke('default', id, 'operator:ada')
    expect(await fixture.vault.tokens.verify(token)).toBeUndefined()
    await fixture.clock.advance(VERIFIED_FOR_MS)
    expect(await other.tokens.verify(token)).toBeUndefined()
    expect(VERIFIED_FOR_MS).toBeLessThanOrEqual(30_000)
  })

  it('works at once, though it was tried before it was made', async () => {
    const { token, id } = await create()
    await fixture.database.pool.query('update tokens set revoked_at = now() where id = $1', [id])
    expect(await fixture.vault.tokens.verify(token)).toBeUndefined()
    await fixture.database.pool.query('update tokens set revoked_at = null where id = $1', [id])
    expect(await fixture.vault.tokens.verify(token)).toBeDefined()
  })

  it('is listed with its use, never with itself, and stays in the list when revoked', async () => {
    const { token, id } = await create()
    await create('second')
    await fixture.vault.tokens.verify(token)
    await fixture.vault.tokens.revoke('default', id, 'operator:ada')
    const listed = await fixture.vault.tokens.list('default')
    expect(listed.map((one) => one.name)).toEqual(['shop backend', 'second'])
    expect(listed[0]!.lastUsedAt).toBeInstanceOf(Date)
    expect(listed[0]!.revokedAt).toBeInstanceOf(Date)
    expect(listed[1]!.lastUsedAt).toBeUndefined()
    expect(JSON.stringify(listed)).not.toContain(token)
    expect(await fixture.vault.tokens.list('other')).toEqual([])
  })

  it('is created and revoked on the record', async () => {
    const { id } = await create()
    await fixture.vault.tokens.revoke('default', id, 'operator:ada')
    expect(await fixture.entries()).toMatchObject([
      { action: 'token.created', target: id, actor: 'operator:ada', detail: { name: 'shop backend' } },
      { action: 'token.revoked', target: id },
    ])
  })

  it('cannot be revoked twice, nor by another tenant, nor be nameless', async () => {
    const { id } = await create()
    const { tokens } = fixture.vault
    await expect(tokens.revoke('other', id, 'operator:eve')).rejects.toMatchObject({ code: 'not_found' })
    await tokens.revoke('default', id, 'operator:ada')
    await expect(tokens.revoke('default', id, 'operator:ada')).rejects.toMatchObject({ code: 'not_found' })
    await expect(create('  ')).rejects.toMatchObject({ code: 'token_name_invalid' })
  })

  it('does not exist if its ledger entry cannot be written', async () => {
    const failing = fixture.node({ record: () => Promise.reject(new Error('no ledger')) })
    await expect(failing.tokens.create({ tenant: 'default', name: 'x', actor: 'system' })).rejects.toThrow(
      'no ledger',
    )
    expect(await fixture.vault.tokens.list('default')).toEqual([])
  })
})
