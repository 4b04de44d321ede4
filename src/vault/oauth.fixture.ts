import type { AnyConnector, ConnectionDefinition, OAuth2Scheme } from '../define/index.ts'
import type { Connection } from './connections.ts'
import { CLIENT, openTokenServer, type TokenServer } from './tokenServer.fixture.ts'
import { connectorWith, openVaultFixture, type VaultFixture } from './vault.fixture.ts'
import type { Vault } from './vault.ts'

const SCHEME: OAuth2Scheme = {
  kind: 'oauth2',
  tokenUrl: '/oauth/token',
  authorizeUrl: '/oauth/authorize',
  scopes: ['read'],
  clientAuth: 'basic',
}
export const BASIC = connectorWith('oauth-basic', SCHEME)
export const POST = connectorWith('oauth-post', { ...SCHEME, clientAuth: 'post' })

/** Vaults over one database, and a token server of its own for each test. */
export interface OAuthFixture extends VaultFixture {
  readonly server: TokenServer
  /** An empty database and a new token server; gives what ends it. */
  renew(): Promise<() => Promise<void>>
  definition(refreshToken: string, connector?: AnyConnector): ConnectionDefinition
  /** A node with a connection that has a grant, and not yet an access token. */
  connected(name: string, connector?: AnyConnector): Promise<{ vault: Vault; connection: Connection }>
  /** The token that a request is given now. */
  tokenOf(vault: Vault, connection: Connection): Promise<{ token: string; version: string }>
  stateOf(connection: Connection): Promise<string>
}

export async function openOAuthFixture(): Promise<OAuthFixture> {
  const vaults = await openVaultFixture()
  let server: TokenServer | undefined
  const self: OAuthFixture = {
    ...vaults,
    get server() {
      return server!
    },
    async renew() {
      await vaults.clear()
      const opened = await openTokenServer()
      server = opened
      return () => opened.close()
    },
    definition(refreshToken, connector = BASIC) {
      return connector.connect({
        baseUrl: self.server.url,
        allowPrivateNetwork: true,
        secrets: { clientId: CLIENT.id, clientSecret: CLIENT.secret, refreshToken },
      })
    },
    async connected(name, connector = BASIC) {
      const vault = vaults.node()
      const definition = self.definition(self.server.newFamily(), connector)
      await vault.syncDeclared('default', { [name]: definition })
      return { vault, connection: await vault.loadConnection('default', name) }
    },
    async tokenOf(vault, connection) {
      const authorized = await vault.authorize(
        connection,
        { method: 'GET', url: 'https://api.example/x', headers: {}, body: undefined },
        { idempotencyKey: 'key', now: vaults.clock.now() },
      )
      return {
        token: authorized.headers['authorization']!.replace('Bearer ', ''),
        version: authorized.credentialVersion,
      }
    },
    async stateOf(connection) {
      const { rows } = await vaults.database.pool.query<{ state: string }>(
        'select state from connections where id = $1',
        [connection.id],
      )
      return rows[0]!.state
    },
  }
  return self
}
