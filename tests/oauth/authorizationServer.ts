import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import Provider from 'oidc-provider'
import { readChildOptions, tellParent } from '../crash/child.ts'

/**
 * A real authorization server in a process of its own: refresh tokens are good once, and whoever uses one twice loses
 * the whole grant (RFC 9700, 4.14.2). Beside it the API that its tokens open.
 */
export interface ServerOptions {
  readonly clientId: string
  readonly clientSecret: string
  /** Seconds that an access token lives. */
  readonly lifetime: number
  readonly redirectUri: string
}

export interface ServerReady {
  readonly url: string
  readonly pid: number
}

const options = readChildOptions() as ServerOptions
const server = createServer((request, response) => {
  const path = new URL(request.url!, 'http://x').pathname
  if (path === '/families')
    void newFamily().then((token) => response.writeHead(200).end(JSON.stringify({ token })))
  else if (path.startsWith('/api/'))
    void isGood(request.headers.authorization).then((good) =>
      response
        .writeHead(good ? 200 : 401, { 'content-type': 'application/json' })
        .end(good ? '{"ok":true}' : '{"error":"invalid_token"}'),
    )
  else answer(request, response)
})
await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
const provider = new Provider(url, {
  clients: [
    {
      client_id: options.clientId,
      client_secret: options.clientSecret,
      grant_types: ['authorization_code', 'refresh_token'],
      redirect_uris: [options.redirectUri],
      token_endpoint_auth_method: 'client_secret_basic',
    },
  ],
  rotateRefreshToken: true,
  ttl: { AccessToken: options.lifetime, RefreshToken: 86_400, Grant: 86_400, IdToken: 3600 },
  cookies: { keys: ['test'] },
})
const answer = provider.callback()
tellParent({ url, pid: process.pid } satisfies ServerReady)

/** The refresh token of a person who has just agreed. */
async function newFamily(): Promise<string> {
  const accountId = 'ada'
  const grant = new provider.Grant({ accountId, clientId: options.clientId })
  grant.addOIDCScope('openid offline_access')
  const grantId = await grant.save()
  return new provider.RefreshToken({
    accountId,
    client: await provider.Client.find(options.clientId),
    grantId,
    gty: 'authorization_code',
    scope: 'openid offline_access',
  }).save()
}

async function isGood(authorization: string | undefined): Promise<boolean> {
  const token = authorization?.replace('Bearer ', '') ?? ''
  return token !== '' && (await provider.AccessToken.find(token)) !== undefined
}
