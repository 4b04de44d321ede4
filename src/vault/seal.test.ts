import { createHash } from 'node:crypto'
import { assert, asyncProperty, uint8Array } from 'fast-check'
import { describe, expect, it } from 'vitest'
import { RetryableError, systemRandom, type Random } from '../base/index.ts'
import { localMasterKey, type KeyWrapper } from './masterKey.ts'
import { keyHeader, open, seal, SEALED_VALUE_LIMIT, type SealedPlace } from './seal.ts'

const random = systemRandom
const key = localMasterKey(Buffer.from('00112233445566778899aabbccddeeff'.repeat(2), 'hex'), random)
const { wrapper } = key
const place: SealedPlace = { tenant: 'default', record: 'con_1', field: 'token' }
const unreadable = { name: 'PermanentError', code: 'secret_unreadable' }

describe('a sealed value', () => {
  it('opens to what was sealed, of any length', async () => {
    await assert(
      asyncProperty(uint8Array({ maxLength: 300 }), async (bytes) => {
        const value = Buffer.from(bytes)
        expect(await open(key, place, await seal(wrapper, place, value, random))).toEqual(value)
      }),
    )
    const longest = random.bytes(SEALED_VALUE_LIMIT)
    expect((await open(key, place, await seal(wrapper, place, longest, random))).equals(longest)).toBe(true)
  })

  it('is refused beyond the limit', async () => {
    await expect(seal(wrapper, place, Buffer.alloc(SEALED_VALUE_LIMIT + 1), random)).rejects.toMatchObject({
      code: 'secret_too_long',
    })
  })

  it('differs each time, and holds nothing of the value', async () => {
    const value = Buffer.from('sk_live_0123456789')
    const one = await seal(wrapper, place, value, random)
    const two = await seal(wrapper, place, value, random)
    expect(one.equals(two)).toBe(false)
    expect(one.includes('sk_live')).toBe(false)
  })

  it.each<[string, SealedPlace]>([
    ['another row', { ...place, record: 'con_2' }],
    ['another tenant', { ...place, tenant: 'other' }],
    ['another field', { ...place, field: 'password' }],
    ['a field that begins where the record ended', { ...place, record: 'con_', field: '1token' }],
    ['a record that begins where the tenant ended', { tenant: 'defaul', record: 'tcon_1', field: 'token' }],
    ['an empty tenant', { tenant: '', record: 'defaultcon_1', field: 'token' }],
    ['a field with a zero byte', { ...place, field: 'token\0' }],
  ])('does not open in %s', async (_, elsewhere) => {
    const sealed = await seal(wrapper, place, Buffer.from('x'), random)
    await expect(open(key, elsewhere, sealed)).rejects.toMatchObject(unreadable)
  })

  it('does not open with any one bit changed', async () => {
    const sealed = await seal(wrapper, place, Buffer.from('secret'), random)
    let opened = 0
    for (let bit = 0; bit < sealed.length * 8; bit++) {
      const altered = Buffer.from(sealed)
      altered[bit >> 3]! ^= 1 << (bit & 7)
      await expect(open(key, place, altered), `bit ${bit}`).rejects.toMatchObject(unreadable)
      opened++
    }
    expect(opened).toBe(sealed.length * 8)
  })

  it('does not open cut short at any place, nor made longer', async () => {
    const sealed = await seal(wrapper, place, Buffer.from('secret'), random)
    for (let length = 0; length < sealed.length; length++)
      await expect(open(key, place, sealed.subarray(0, length))).rejects.toMatchObject(unreadable)
    await expect(open(key, place, Buffer.concat([sealed, Buffer.alloc(1)]))).rejects.toMatchObject(unreadable)
    await expect(open(key, place, Buffer.concat([Buffer.alloc(1), sealed]))).rejects.toMatchObject(unreadable)
  })

  it('does not open put together from two of the same place', async () => {
    const one = await seal(wrapper, place, Buffer.from('secret one'), random)
    const two = await seal(wrapper, place, Buffer.from('secret two'), random)
    const headerLength = keyHeader(wrapper.id).length + 2 + 60
    const mixed = Buffer.concat([one.subarray(0, headerLength), two.subarray(headerLength)])
    const tagOfOther = Buffer.concat([one.subarray(0, -16), two.subarray(-16)])
    await expect(open(key, place, mixed)).rejects.toMatchObject(unreadable)
    await expect(open(key, place, tagOfOther)).rejects.toMatchObject(unreadable)
  })

  it.each([
    ['all zeros', Buffer.alloc(200)],
    ['all ones', Buffer.alloc(200, 0xff)],
    ['plain text', Buffer.from('sk_live_plain_text_that_was_never_sealed_but_is_long_enough_to_be')],
    ['a length beyond the end', Buffer.concat([keyHeader(wrapper.id), Buffer.from([0xff, 0xff])])],
  ])('is not mistaken for %s', async (_, bytes) => {
    await expect(open(key, place, bytes)).rejects.toMatchObject(unreadable)
  })

  it('names both master keys when it was sealed under another one', async () => {
    const other = localMasterKey(random.bytes(32), random).wrapper
    const sealed = await seal(other, place, Buffer.from('x'), random)
    await expect(open(key, place, sealed)).rejects.toMatchObject({
      ...unreadable,
      message: expect.stringMatching(new RegExp(`${other.id}.*${wrapper.id}.*TRESTLE_MASTER_KEY`)) as string,
    })
  })

  it('says that a key service is away, instead of that the secret is broken', async () => {
    const sealed = await seal(wrapper, place, Buffer.from('x'), random)
    const away: KeyWrapper = {
      ...wrapper,
      unwrap: () => Promise.reject(new RetryableError('key_service_unavailable', 'Try again.')),
    }
    await expect(open({ wrapper: away }, place, sealed)).rejects.toMatchObject({
      code: 'key_service_unavailable',
    })
  })
})

/**
 * Vectors of our own, made once by this code and kept: a later version must open what an earlier one sealed. The
 * "random" bytes are SHA-256 in counter mode, so that they can be made again anywhere.
 */
const VECTORS: readonly (readonly [string, SealedPlace, string, string])[] = [
  [
    'an empty value',
    { tenant: 'default', record: 'con_1', field: 'token' },
    '',
    '01166c6f63616c2d61363063366365646465346266326532003c5feceb66ffc86f38d952786cb9024cc13b7df11fab392c97483bf1f40134c94e5b4c36ddb51a259892b34da4b307633eb8800f89ffa88de0d3fcd8416b86b273ff34fce19d6b804eb5ccd1cdbb3237c52186a7459181fd0f',
  ],
  [
    'one byte',
    { tenant: 'default', record: 'con_1', field: 'token' },
    'x',
    '01166c6f63616c2d61363063366365646465346266326532003c5feceb66ffc86f38d952786cb9024cc13b7df11fab392c97483bf1f40134c94e5b4c36ddb51a259892b34da4b307633eb8800f89ffa88de0d3fcd8416b86b273ff34fce19d6b804e3ee19850cf5987498fc45832218e1354d8',
  ],
  [
    'longer than a block',
    { tenant: 'default', record: 'con_1', field: 'token' },
    'sk_test_0123456789abcdefghijklmnopqrstuvwxyz',
    '01166c6f63616c2d61363063366365646465346266326532003c5feceb66ffc86f38d952786cb9024cc13b7df11fab392c97483bf1f40134c94e5b4c36ddb51a259892b34da4b307633eb8800f89ffa88de0d3fcd8416b86b273ff34fce19d6b804e3576fbd1956f432305d9ce6b3b549105643ff2baa071a36c91be4bc1a28abcda2c28c61e8213b6d1c148350c67478fb0ed8bb297be0087847d34fa19',
  ],
  [
    'not ASCII',
    { tenant: 'café', record: 'con_ü', field: 'webhookSecret.0' },
    'pässwörd ✓',
    '01166c6f63616c2d61363063366365646465346266326532003c5feceb66ffc86f38d952786cb9024cc13b7df11fab392c97483bf1f40134c94e5b4c36ddb51a259892b34da4b307633eb8800f89ffa88de0d3fcd8416b86b273ff34fce19d6b804e36de00d6836bf4ca478cdcba93f2331f2bca6460c454a8a649b067051556',
  ],
  [
    'an empty place',
    { tenant: '', record: '', field: '' },
    'x',
    '01166c6f63616c2d61363063366365646465346266326532003c5feceb66ffc86f38d952786cb9024cc13b7df11fab392c97483bf1f40134c94e5b4c36ddb51a259892b34da4b307633eb8800f89ffa88de0d3fcd8416b86b273ff34fce19d6b804e3ea65ab9737a97c7d63b6702f49201de21',
  ],
]

describe('what an earlier version sealed', () => {
  const counting = (): Random => {
    let n = 0
    return {
      next: () => 0,
      bytes: (length) => createHash('sha256').update(String(n++)).digest().subarray(0, length),
    }
  }
  const vectorKey = localMasterKey(Buffer.from('0123456789abcdef'.repeat(4), 'hex'), counting())

  it.each(VECTORS)('opens: %s', async (_, at, value, sealedHex) => {
    expect((await open(vectorKey, at, Buffer.from(sealedHex, 'hex'))).toString()).toBe(value)
  })

  it.each(VECTORS)('is sealed in the same way now: %s', async (_, at, value, sealedHex) => {
    const fresh = localMasterKey(Buffer.from('0123456789abcdef'.repeat(4), 'hex'), counting())
    expect((await seal(fresh.wrapper, at, Buffer.from(value), counting())).toString('hex')).toBe(sealedHex)
  })
})
