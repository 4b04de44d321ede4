import { describe, expect, it } from 'vitest'
import { isRefusal, replyOf } from './reply.ts'

describe('a reply of a mail server', () => {
  it.each([
    ['250 Ok', 250, null, 'Ok'],
    ['250', 250, null, ''],
    ['250 2.0.0 Ok: queued as 4F00', 250, '2.0.0', 'Ok: queued as 4F00'],
    ['550-5.1.1 No such\r\n550 5.1.1 user', 550, '5.1.1', 'No such user'],
    ['451 4.7.1', 451, '4.7.1', ''],
    ['550 192.0.2.1 is on a list', 550, null, '192.0.2.1 is on a list'],
  ])('%j', (text, code, enhanced, words) => {
    expect(replyOf(text)).toEqual({ code, enhanced, text: words })
  })

  it.each(['', 'Thanks', '99 x', '199 x', '650 x', '2500 x', '25O Ok'])('%j is none', (text) => {
    expect(replyOf(text)).toBeUndefined()
  })

  it('is bounded', () => {
    expect(replyOf(`250 ${'x'.repeat(100_000)}`)!.text).toHaveLength(500)
  })

  it('refuses from 400 on', () => {
    expect([250, 354, 421, 550].map((code) => isRefusal(replyOf(`${code} x`)))).toEqual([
      false,
      false,
      true,
      true,
    ])
  })
})
