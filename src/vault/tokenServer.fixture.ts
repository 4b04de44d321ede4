import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { systemRandom } from '../base/index.ts'

/** What the token endpoint answers once, instead of what it would. */
export type TokenFault = (
  issued: () => string,
) => { status: number; headers?: Record<string, string>; body: string } | 'reset'

/**
 * A token endpoint over real HTTP whose refresh tokens are good once. Whoever uses one twice has stolen it, as far as
 * the server can tell, so the whole family is revoked (RFC 9700, 4.14.2), the newest tokens included.
 */
export interface TokenServer {
  readonly url: string
  /** Every access token that was issued in one family. */
  readonly requests: readonly { readonly authorization: string | undefined; readonly form: URLSearchParams }[]
  /** The first refresh token of a new family. */
  newFamily(): string
  /** Families that were revoked because a refresh token came twice. */
  deadFamilies(): number
  isGood(accessToken: string): boolean
  /** Seconds that access tokens live. Default 3600. */
  lifetime: number
  /** Answers the next request so. */
  failNext(fault: TokenFault): void
  /** Holds requests until the returned function is called. */
  hold(): () => void
  /** Resolves when this many requests have come, from now on. */
  untilRequests(count: number): Promise<void>
  close(): Promise<void>
}

export const CLIENT = { id: 'client:id', secret: 'client secret/%' }

export async function openTokenServer(): Promise<TokenServer> {
  const families: { current: string; access: string; dead: boolean }[] = []
  const familyOf = new Map<string, (typeof families)[number]>()
  const requests: { authorization: string | undefined; form: URLSearchParams }[] = []
  const faults: TokenFault[] = []
  let gate: Promise<void> = Promise.resolve()
  let waiting: (() => void)[] = []
  const ofClients = new Set<string>()
  const token = (kind: string): string => `${kind}_${systemRandom.bytes(16).toString('hex')}`

  const server = createServer((request, response) => {
    const chunks: Buffer[] = []
    request.on('data', (chunk: Buffer) => chunks.push(chunk))
    request.on('end', () => {
      const form = new URLSearchParams(Buffer.concat(chunks).toString())
      requests.push({ authorization: request.headers.authorization, form })
      for (const wake of waiting) wake()
      void gate.then(() => {
        const fault = faults.shift()
        const answer = fault === undefined ? answerTo(form) : fault(() => answerTo(form).body)
        if (answer === 'reset') return request.socket.destroy()
        return response
          .writeHead(answer.status, { 'content-type': 'application/json', ...answer.headers })
          .end(answer.body)
      })
    })
  })

  server.keepAliveTimeout = 0 // Not closed under a request, where the machine stood still before it.

  function answerTo(form: URLSearchParams): {
    status: number
    headers?: Record<string, string>
    body: string
  } {
    if (form.get('grant_type') === 'client_credentials') {
      const access = token('at')
      ofClients.add(access)
      return {
        status: 200,
        body: JSON.stringify({ access_token: access, token_type: 'Bearer', expires_in: self.lifetime }),
      }
    }
    const used = form.get('refresh_token') ?? ''
    const family = familyOf.get(used)
    if (family === undefined || family.dead || family.current !== used) {
      if (family !== undefined) family.dead = true
      return {
        status: 400,
        body: JSON.stringify({ error: 'invalid_grant', error_description: `no ${used}` }),
      }
    }
    family.current = token('rt')
    family.access = token('at')
    familyOf.set(family.current, family)
    return {
      status: 200,
      body: JSON.stringify({
        access_token: family.access,
        refresh_token: family.current,
        token_type: 'Bearer',
        expires_in: self.lifetime,
        x_refresh_token_expires_in: 8_726_400,
      }),
    }
  }

  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve)
  })
  const self: TokenServer = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    requests,
    lifetime: 3600,
    newFamily() {
      const family = { current: token('rt'), access: token('at'), dead: false }
      families.push(family)
      familyOf.set(family.current, family)
      return family.current
    },
    deadFamilies: () => families.filter((family) => family.dead).length,
    isGood: (accessToken) =>
      ofClients.has(accessToken) || families.some((family) => !family.dead && family.access === accessToken),
    failNext: (fault) => faults.push(fault),
    hold() {
      let release = (): void => {}
      gate = new Promise((resolve) => {
        release = resolve
      })
      return () => release()
    },
    untilRequests(count) {
      const goal = requests.length + count
      return new Promise((resolve) => {
        const wake = (): void => {
          if (requests.length < goal) return
          waiting = waiting.filter((one) => one !== wake)
          resolve()
        }
        waiting.push(wake)
      })
    },
    async close() {
      server.closeAllConnections()
      await new Promise((resolve) => {
        server.close(resolve)
      })
    },
  }
  return self
}
