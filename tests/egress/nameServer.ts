/** A DNS server (RFC 1035) on this machine, so that a test decides what each question is answered, and counts them. */
import { createSocket } from 'node:dgram'
import { Resolver } from 'node:dns'
import { isIP } from 'node:net'
import type { Resolve } from '../../src/egress/index.ts'

/** The addresses of a name for its n-th question of one kind, from 1; `undefined`: there is no such name. */
export type Zone = (name: string, n: number) => readonly string[] | undefined

export interface NameServer {
  /** Asks this server, for IPv4 and IPv6, as `getaddrinfo` would ask the machine's. */
  readonly resolve: Resolve
  readonly port: number
  /** Questions for a name, over both kinds. */
  asked(name: string): number
  close(): Promise<void>
}

const A = 1
const AAAA = 28

export async function openNameServer(zone: Zone): Promise<NameServer> {
  const questions = new Map<string, number>()
  const asked = (name: string, kind: number): number => questions.get(`${name} ${kind}`) ?? 0
  const socket = createSocket('udp4', (packet, from) => {
    const { name, kind, end } = questionOf(packet)
    questions.set(`${name} ${kind}`, asked(name, kind) + 1)
    const addresses = zone(name, asked(name, kind))
    const family = kind === AAAA ? 6 : 4
    const found = addresses?.filter((address) => isIP(address) === family) ?? []
    socket.send(answerOf(packet, end, kind, addresses === undefined ? undefined : found), from.port)
  })
  await new Promise<void>((resolve) => socket.bind(0, '127.0.0.1', resolve))
  const { port } = socket.address()
  return {
    resolve: resolveAt(port),
    port,
    asked: (name) => asked(name, A) + asked(name, AAAA),
    close: () => new Promise((resolve) => socket.close(() => resolve())),
  }
}

/** Asks the name server at this port of this machine. */
export function resolveAt(port: number): Resolve {
  const resolver = new Resolver({ timeout: 20_000, tries: 3 })
  resolver.setServers([`127.0.0.1:${port}`])
  return (hostname, done) => {
    const four = new Promise<readonly string[]>((found) =>
      resolver.resolve4(hostname, (error, addresses) => found(error ? [] : addresses)),
    )
    const six = new Promise<readonly string[]>((found) =>
      resolver.resolve6(hostname, (error, addresses) => found(error ? [] : addresses)),
    )
    void Promise.all([four, six]).then(([a, aaaa]) => {
      const all = [
        ...a.map((address) => ({ address, family: 4 })),
        ...aaaa.map((address) => ({ address, family: 6 })),
      ]
      if (all.length > 0) done(null, all)
      else done(Object.assign(new Error(`getaddrinfo ENOTFOUND ${hostname}`), { code: 'ENOTFOUND' }), [])
    })
  }
}

function questionOf(packet: Buffer): { name: string; kind: number; end: number } {
  const labels: string[] = []
  let at = 12
  for (let length = packet[at]!; length > 0; length = packet[at]!) {
    labels.push(packet.toString('latin1', at + 1, at + 1 + length))
    at += 1 + length
  }
  return { name: labels.join('.').toLowerCase(), kind: packet.readUInt16BE(at + 1), end: at + 5 }
}

/** The question again, and a record for each address; all of them may be forgotten at once (TTL 0). */
function answerOf(
  question: Buffer,
  end: number,
  kind: number,
  addresses: readonly string[] | undefined,
): Buffer {
  const head = Buffer.alloc(12)
  question.copy(head, 0, 0, 2)
  head.writeUInt16BE(addresses === undefined ? 0x8183 : 0x8180, 2) // an answer; 3 is "no such name"
  head.writeUInt16BE(1, 4)
  head.writeUInt16BE(addresses?.length ?? 0, 6)
  const records = (addresses ?? []).map((address) => {
    const data = kind === AAAA ? bytesOfIpv6(address) : Buffer.from(address.split('.').map(Number))
    const record = Buffer.alloc(12)
    record.writeUInt16BE(0xc00c, 0) // the name of the question
    record.writeUInt16BE(kind, 2)
    record.writeUInt16BE(1, 4)
    record.writeUInt16BE(data.length, 10)
    return Buffer.concat([record, data])
  })
  return Buffer.concat([head, question.subarray(12, end), ...records])
}

function bytesOfIpv6(address: string): Buffer {
  // The URL parser writes it without dotted decimals.
  const [before = '', after] = new URL(`http://[${address}]`).hostname.slice(1, -1).split('::')
  const groups = (text: string): number[] =>
    text === '' ? [] : text.split(':').map((group) => Number.parseInt(group, 16))
  const [head, tail] = [groups(before), groups(after ?? '')]
  const all = [...head, ...Array<number>(8 - head.length - tail.length).fill(0), ...tail]
  return Buffer.from(all.flatMap((group) => [group >> 8, group & 0xff]))
}
