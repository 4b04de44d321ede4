import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { classOfAddress } from './addresses.ts'

describe('classes of addresses', () => {
  it.each([
    '1.1.1.1',
    '8.8.8.8',
    '172.15.255.255',
    '172.32.0.1',
    '100.63.255.255',
    '100.128.0.1',
    '198.17.255.255',
    '198.20.0.1',
    '::ffff:8.8.8.8',
    '2606:4700:4700::1111',
    '2a00:1450:4001:81b::200e',
  ])('%s is public', (address) => {
    expect(classOfAddress(address)).toBe('public')
  })

  it.each([
    '127.0.0.1',
    '127.255.255.254',
    '10.0.0.1',
    '172.16.0.1',
    '172.31.255.255',
    '192.168.1.1',
    '100.64.0.1',
    '100.127.255.255',
    '::1',
    'fc00::1',
    'fd12:3456::1',
    '::ffff:127.0.0.1',
    '::ffff:10.0.0.1',
    '::ffff:7f00:1',
  ])('%s is private', (address) => {
    expect(classOfAddress(address)).toBe('private')
  })

  it.each([
    // metadata services
    '169.254.169.254',
    '169.254.170.2',
    '100.100.100.200',
    '168.63.129.16',
    '192.0.0.192',
    'fd00:ec2::254',
    'fd00:0ec2:0:0:0:0:0:254',
    'fd00:ec2::23',
    'fd20:ce::254',
    'fe80::a9fe:a9fe',
    '::ffff:169.254.169.254',
    '::ffff:100.100.100.200',
    // this host, this link, many hosts
    '0.0.0.0',
    '0.1.2.3',
    '::',
    '169.254.0.1',
    'fe80::1',
    'fe80::1%eth0',
    'fec0::1',
    '224.0.0.1',
    '239.255.255.250',
    'ff02::1',
    '255.255.255.255',
    '240.0.0.1',
    // documentation, benchmarks, protocol assignments
    '192.0.2.1',
    '198.51.100.7',
    '203.0.113.9',
    '2001:db8::1',
    '3fff::1',
    '198.18.0.1',
    '198.19.255.255',
    '2001:2::1',
    '192.0.0.8',
    '192.88.99.1',
    '100::1',
    '5f00::1',
    '4000::1',
    // addresses that carry another
    '::127.0.0.1',
    '::7f00:1',
    '::ffff:0:127.0.0.1',
    '64:ff9b::127.0.0.1',
    '64:ff9b::8.8.8.8',
    '64:ff9b:1::7f00:1',
    '2002:7f00:1::',
    '2002:a9fe:a9fe::',
    '2001:0:53aa:64c:0:5efe:7f00:1',
    // no address at all
    '',
    'localhost',
    '256.1.1.1',
    '1.2.3',
  ])('%s is forbidden', (address) => {
    expect(classOfAddress(address)).toBe('forbidden')
  })

  it('judges an IPv4 address the same when it is mapped into IPv6', () => {
    fc.assert(
      fc.property(fc.ipV4(), (address) => {
        expect(classOfAddress(`::ffff:${address}`)).toBe(classOfAddress(address))
      }),
      { numRuns: 500 },
    )
  })

  it('lets nothing be public that stands outside the global unicast block of IPv6', () => {
    fc.assert(
      fc.property(fc.ipV6(), (address) => {
        // What is mapped (RFC 4291, 2.5.5.2) is an IPv4 address, in whichever way it is written.
        const [written] = new URL(`http://[${address}]`).hostname.split(/[[\]]/).filter(Boolean)
        if (classOfAddress(address) !== 'public' || written!.startsWith('::ffff:')) return
        expect(written).toMatch(/^[23][0-9a-f]{3}:/)
      }),
      { numRuns: 2000 },
    )
  })
})
