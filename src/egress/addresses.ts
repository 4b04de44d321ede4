import { isIP } from 'node:net'
import ipaddr from 'ipaddr.js'

/**
 * What an address is to us.
 * - `public`: a global unicast address.
 * - `private`: loopback, RFC 1918, carrier-grade NAT (RFC 6598), unique local (RFC 4193). Reached only by a
 *   connection that allows private networks.
 * - `forbidden`: never reached, whatever a connection allows: cloud metadata services, link-local, multicast,
 *   unspecified, documentation, benchmarking, and everything that carries another address inside (6to4, Teredo,
 *   NAT64), whose inner address we cannot vouch for.
 */
type AddressClass = 'public' | 'private' | 'forbidden'

/**
 * Metadata services and host agents of clouds outside the link-local range, which hand out credentials to whoever
 * asks. 169.254.169.254, 169.254.170.2 and fe80::a9fe:a9fe are link-local and forbidden with it.
 */
const METADATA: ReadonlySet<string> = new Set([
  '100.100.100.200', // Alibaba Cloud
  '168.63.129.16', // Azure host agent: a public address that only answers inside
  '192.0.0.192', // Oracle Cloud (classic)
  'fd00:ec2::254', // AWS instance metadata (docs.aws.amazon.com, IPv6 on AWS, read 2026-11-22)
  'fd00:ec2::23', // AWS EKS pod identity
  'fd20:ce::254', // Google Cloud
])

const PRIVATE_RANGES: ReadonlySet<string> = new Set(['loopback', 'private', 'carrierGradeNat', 'uniqueLocal'])

/** Global unicast, the only block from which public IPv6 addresses are given out (RFC 4291, 2.4; IANA). */
const IPV6_GLOBAL = ipaddr.parseCIDR('2000::/3') as [ipaddr.IPv6, number]

/** The class of an address in the textual form that a resolver or a socket gives. What cannot be read is forbidden. */
export function classOfAddress(text: string): AddressClass {
  const address = parse(text)
  if (address === undefined || METADATA.has(address.toString())) return 'forbidden'
  const range = address.range()
  if (PRIVATE_RANGES.has(range)) return 'private'
  if (range !== 'unicast') return 'forbidden'
  if (address.kind() === 'ipv4') return 'public'
  return (address as ipaddr.IPv6).match(IPV6_GLOBAL) ? 'public' : 'forbidden'
}

/** An IPv4 address mapped into IPv6 (`::ffff:127.0.0.1`) is the IPv4 address: the kernel connects to that. */
function parse(text: string): ipaddr.IPv4 | ipaddr.IPv6 | undefined {
  const kind = isIP(text)
  if (kind === 0) return undefined
  try {
    return ipaddr.process(kind === 6 ? hexadecimal(text) : text)
  } catch {
    return undefined
  }
}

/** Without dotted decimals at its end, which ipaddr.js takes for a mapped address whatever stands before them. */
function hexadecimal(text: string): string {
  return text.includes('.') ? new URL(`http://[${text}]`).hostname.slice(1, -1) : text
}
