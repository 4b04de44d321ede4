import { mailServerOf } from '../../base/index.ts'
import type { EmailAlerts } from '../../define/index.ts'
import { ok, warn, type Finding } from './findings.ts'

/** An address that secrets or data are sent to. */
export interface OutwardAddress {
  /** Such as `Connection books`. */
  readonly what: string
  readonly url: string
}

/** Names and addresses that never leave the machine; `localhost.example.com` and `127.example.com` do. */
export const THIS_MACHINE = /^(localhost|127(\.\d{1,3}){3}|\[::1\])$/

/** Whether everything that goes out is encrypted on its way: by http, whoever is in between reads the credentials. */
export function encryptionFindings(addresses: readonly OutwardAddress[]): readonly Finding[] {
  const plain = addresses.filter(({ url }) => isPlain(url))
  return plain.length === 0
    ? [ok('Encryption', 'everything goes out by https')]
    : plain.map(({ what, url }) => plainFinding(what, new URL(url)))
}

function isPlain(url: string): boolean {
  return (URL.canParse(url) && new URL(url).protocol === 'http:') || mailServerOf(url)?.security === 'none'
}

/** Mail without a login, to a server without TLS, which only one on a private network may be. */
export function mailFindings(email: EmailAlerts | undefined): readonly Finding[] {
  if (email?.smtp.tls !== 'none' || THIS_MACHINE.test(email.smtp.host)) return []
  return [
    warn(
      'Alerts by e-mail',
      `${email.smtp.host} gets mail unencrypted: whoever is in between reads it`,
      'Let it offer STARTTLS, and leave smtp.tls out.',
    ),
  ]
}

function plainFinding(what: string, { protocol, host, hostname }: URL): Finding {
  if (protocol === 'smtp:')
    return THIS_MACHINE.test(hostname)
      ? ok(what, `mails to ${host} go without TLS, which does not leave this machine`)
      : warn(
          what,
          `mails to ${host} go without TLS: whoever is in between reads them, and the password`,
          'Leave "?tls=none" out of its base URL; the mail server must offer STARTTLS.',
        )
  const origin = `${protocol}//${host}`
  return THIS_MACHINE.test(hostname)
    ? ok(what, `${origin} by http, which does not leave this machine`)
    : warn(
        what,
        `${origin} is asked by http: whoever is in between reads what is sent, credentials too`,
        'Write https:// in trestle.config.ts; in a private network put TLS in front of that system.',
      )
}
