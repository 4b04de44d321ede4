import { describe, expect, it } from 'vitest'
import { mailboxOf, mailServerOf } from './mail.ts'

describe('the base URL of a mail server', () => {
  it.each([
    ['smtps://smtp.example.com', { host: 'smtp.example.com', port: 465, security: 'tls' }],
    ['smtps://smtp.example.com:2465/', { host: 'smtp.example.com', port: 2465, security: 'tls' }],
    ['smtp://smtp.example.com', { host: 'smtp.example.com', port: 587, security: 'starttls' }],
    ['SMTP://10.0.0.7:25?tls=none', { host: '10.0.0.7', port: 25, security: 'none' }],
    ['smtps://[::1]:465', { host: '::1', port: 465, security: 'tls' }],
  ])('%s', (url, server) => {
    expect(mailServerOf(url)).toEqual(server)
  })

  it.each([
    'https://smtp.example.com',
    'smtp.example.com',
    'smtp://',
    'smtp://user:password@smtp.example.com',
    'smtp://smtp.example.com/path',
    'smtp://smtp.example.com:0',
    'smtp://smtp.example.com:70000',
    'smtps://smtp.example.com?tls=none',
    'smtp://smtp.example.com?tls=maybe',
    'smtp://smtp.example.com\r\nQUIT',
  ])('%j is none', (url) => {
    expect(mailServerOf(url)).toBeUndefined()
  })
})

describe('a mailbox', () => {
  it.each([
    ['ada@example.com', 'ada@example.com', ''],
    [' ada+x@example.com ', 'ada+x@example.com', ''],
    ['Ada Lovelace <ada@example.com>', 'ada@example.com', 'Ada Lovelace'],
    ['"Lovelace, Ada" <ada@example.com>', 'ada@example.com', 'Lovelace, Ada'],
    ['Ada <ada@bücher.example>', 'ada@xn--bcher-kva.example', 'Ada'],
    ['root@localhost', 'root@localhost', ''],
  ])('%s', (text, address, name) => {
    expect(mailboxOf(text)).toEqual({ address, name })
  })

  it.each([
    '',
    'ada',
    '@example.com',
    'ada@',
    'ada@example.com, bob@example.com',
    'ada@example.com bob@example.com',
    '<ada@example.com> <bob@example.com>',
    'Ada <ada@example.com> SIZE=1',
    'ada@example.com\r\nRCPT TO:<eve@example.com>',
    'ada@example.com\u2028',
    'a\u0000da@example.com',
    'friends: eve@example.com;',
    '"a b"@example.com',
    'ä@example.com',
    'a..b@example.com',
    'ada@exa mple.com',
    'ada@-example.com',
    `${'a'.repeat(65)}@example.com`,
    `ada@${'a.'.repeat(150)}com`,
  ])('%j is none', (text) => {
    expect(mailboxOf(text)).toBeUndefined()
  })
})
