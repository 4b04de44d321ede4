import { checkServerIdentity, TLSSocket, type PeerCertificate } from 'node:tls'
import type { Socket } from 'node:net'
import { DAY, mailServerOf, type Clock } from '../base/index.ts'

/** The certificate that a server proved itself with last. */
export interface ServerCertificate {
  readonly from: Date
  readonly endsAt: Date
}

/** The certificates of the servers that this process spoke with, in memory. */
export interface Certificates {
  /** Of the server at this URL (https, smtps, smtp); `undefined`: none was seen. */
  of(url: string): ServerCertificate | undefined
  /** Whether it was seen so lately that a TLS session may be resumed, which shows none. */
  isCurrent(server: Server): boolean
  /** Notes what the handshake of this socket showed. */
  note(server: Server, socket: Socket): void
  /** For `tls.connect`: the usual check of the name, of a certificate that it notes. */
  checkOf(server: Server): typeof checkServerIdentity
}

interface Server {
  readonly host: string
  readonly port: number
}

/** A session may be resumed for days, while the server has another certificate long since: it is seen anew this often. */
const SEEN_ANEW_MS = DAY
const HTTPS_PORT = 443

/** `most`: servers in memory; the one that was noted longest ago goes first. */
export function createCertificates(clock: Clock, most: number): Certificates {
  const seen = new Map<string, ServerCertificate & { readonly at: number }>()
  const keyOf = ({ host, port }: Server): string => `${host.replace(/^\[|\]$/g, '').toLowerCase()} ${port}`

  function noteCertificate(server: Server, certificate: PeerCertificate): void {
    const [from, endsAt] = [new Date(certificate.valid_from), new Date(certificate.valid_to)]
    if (Number.isNaN(from.getTime()) || Number.isNaN(endsAt.getTime())) return
    const key = keyOf(server)
    seen.delete(key)
    if (seen.size >= most) seen.delete(seen.keys().next().value!)
    seen.set(key, { from, endsAt, at: clock.monotonic() })
  }

  return {
    of(url) {
      const server = serverAt(url)
      const found = server && seen.get(keyOf(server))
      return found && { from: found.from, endsAt: found.endsAt }
    },
    isCurrent(server) {
      const found = seen.get(keyOf(server))
      return found !== undefined && clock.monotonic() - found.at < SEEN_ANEW_MS
    },
    note(server, socket) {
      if (socket instanceof TLSSocket && !socket.isSessionReused())
        noteCertificate(server, socket.getPeerCertificate())
    },
    checkOf: (server) => (name, certificate) => {
      noteCertificate(server, certificate)
      return checkServerIdentity(name, certificate)
    },
  }
}

function serverAt(url: string): Server | undefined {
  const mail = mailServerOf(url)
  if (mail !== undefined) return mail
  const parsed = URL.parse(url)
  if (parsed?.protocol !== 'https:') return undefined
  return { host: parsed.hostname, port: parsed.port === '' ? HTTPS_PORT : Number(parsed.port) }
}
