import { isIP } from 'node:net'
import { NAME_FORMS, NAMES, NEVER, PRIVATE, THIS_MACHINE, THIS_MACHINE_V6, URLS } from '../../egress/forms.ts'

/** Every host of the battery, each as a URL of the canary's port, and every URL that reads as another one than it is. */
export function batteryUrls(port: number): readonly string[] {
  const hosts = [...new Set([...THIS_MACHINE, ...THIS_MACHINE_V6, ...PRIVATE, ...NEVER, ...NAME_FORMS])]
  return [...new Set([...hosts.map((host) => `https://${host}:${port}`), ...URLS.map(withPort)])]
  function withPort(url: string): string {
    return url.replaceAll('PORT', String(port))
  }
}

/** Hosts as a mail server's setting has them: without a URL's brackets. */
export const MAIL_HOSTS = [...THIS_MACHINE, ...PRIVATE, ...NEVER].map((host) => host.replace(/^\[|\]$/g, ''))

const PUBLIC = '93.184.216.34'

/** Names whose answer changes from one question to the next: good, then this machine, and the other way round. */
const REBINDING: Readonly<Record<string, (n: number) => readonly string[]>> = {
  'rebind.example': (n) => (n % 2 === 1 ? [PUBLIC] : ['127.0.0.1']),
  'rebind-metadata.example': (n) => (n % 2 === 1 ? [PUBLIC] : ['169.254.169.254']),
  'first-bad.example': (n) => (n % 2 === 1 ? ['127.0.0.1'] : [PUBLIC]),
  'mixed.example': () => [PUBLIC, '127.0.0.1'],
  'mixed-order.example': () => ['10.0.0.1', '169.254.169.254', PUBLIC],
}
export const REBINDING_NAMES = Object.keys(REBINDING)

/** What the battery's name server answers to the n-th question. */
export function answersOf(name: string, n: number): readonly string[] | undefined {
  return REBINDING[name]?.(n) ?? NAMES[name] ?? numberIn(name)
}

/** getaddrinfo reads numbers in every notation, which is how they come to a protocol without URLs. */
function numberIn(name: string): readonly string[] | undefined {
  const url = `http://${name}/`
  const host = URL.canParse(url) ? new URL(url).hostname : ''
  return isIP(host) === 4 ? [host] : undefined
}
