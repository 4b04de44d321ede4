import type { AnyConnector, ConnectOptions, OAuth2Scheme } from '../define/index.ts'
import type { Egress, EgressRequest, EgressResult } from '../egress/index.ts'
import type { Authorization } from './index.ts'
import { openVaultFixture, type VaultFixture } from './vault.fixture.ts'
import type { Vault, VaultOptions } from './vault.ts'

export const PUBLIC_URL = 'http://127.0.0.1:3000'

/** Vaults over one database, connectors that a test makes up, and the browser of a person who agrees to everything. */
export interface AuthorizingFixture extends VaultFixture {
  /** A node that knows the connectors of {@link AuthorizingFixture.connected}. */
  node(changes?: Partial<VaultOptions>): Vault
  connected(vault: Vault, name: string, connector: AnyConnector, options: ConnectOptions): Promise<void>
  /** The way of a browser to the provider: what its callback is called with. */
  begin(vault: Vault, name: string, account?: string): Promise<Begun>
  /** The whole way, whose person agrees wherever it is sent: the callback's query, and the one cookie. */
  agree(
    vault: Vault,
    name: string,
    at: (location: string) => Promise<string>,
    account?: string,
  ): Promise<Authorization>
  stateOf(name: string): Promise<string>
}

export interface Begun {
  readonly id: string
  readonly location: string
  /** Comes back from the provider, at this address. */
  readonly callback: (back: string) => Promise<Authorization>
}

export async function openAuthorizingFixture(): Promise<AuthorizingFixture> {
  const vaults = await openVaultFixture()
  const connectors = new Map<string, AnyConnector>()
  const self: AuthorizingFixture = {
    ...vaults,
    node(changes = {}) {
      return vaults.node({
        authOf: (name) => connectors.get(name)?.auth,
        baseUrlOf: (name) => connectors.get(name)?.baseUrl,
        ...changes,
      })
    },
    async connected(vault, name, connector, options) {
      connectors.set(connector.name, connector)
      await vault.syncDeclared('default', { [name]: connector.connect(options) })
    },
    async begin(vault, name, account) {
      const { authorizations } = vault
      const wish = { tenant: 'default', name, publicUrl: PUBLIC_URL, actor: 'operator:ada', account } as const
      const begun = await authorizations.begin(wish)
      const { location, cookie } = await authorizations.open(
        begun.address.split('/').at(-1)!,
        () => undefined,
      )
      return {
        id: begun.id,
        location,
        callback(back) {
          const { pathname, searchParams } = new URL(back)
          return authorizations.callback(pathname.split('/').at(-1)!, searchParams, (asked) =>
            asked === cookie.name ? cookie.value : undefined,
          )
        },
      }
    },
    async agree(vault, name, at, account) {
      const { location, callback } = await self.begin(vault, name, account)
      return callback(await at(location))
    },
    stateOf: async (name) => (await self.node().loadConnection('default', name)).state,
  }
  return self
}

/** A provider's page that nobody has to run: the answer comes with this code and these parameters. */
export function by(parameters: Readonly<Record<string, string>> = {}) {
  return (location: string): Promise<string> => {
    const { searchParams } = new URL(location)
    const back = new URL(searchParams.get('redirect_uri')!)
    for (const [key, value] of Object.entries({
      code: 'code',
      state: searchParams.get('state')!,
      ...parameters,
    }))
      back.searchParams.set(key, value)
    return Promise.resolve(back.href)
  }
}

/** A provider in a few answers, by path; a token answer unless something else is said. */
export function answering(
  answers: Readonly<Record<string, unknown>>,
  asked: EgressRequest[] = [],
): { send: Egress['send']; asked: EgressRequest[] } {
  const tokens = { access_token: 'at_1', refresh_token: 'rt_1', token_type: 'Bearer', expires_in: 3600 }
  return {
    asked,
    send(request): Promise<EgressResult> {
      asked.push(request)
      const { pathname } = new URL(request.url)
      const said: unknown = answers[pathname] ?? (pathname === '/token' ? tokens : undefined)
      if (said === 'reset')
        return Promise.resolve({ as: 'unknown', code: 'reset', reason: 'The connection broke.' })
      return Promise.resolve({
        as: 'answered',
        status: said === undefined ? 404 : typeof said === 'number' ? said : 200,
        headers: {},
        body: Buffer.from(JSON.stringify(said ?? {})),
        ms: 1,
      })
    },
  }
}

export const SCHEME: OAuth2Scheme = {
  kind: 'oauth2',
  tokenUrl: 'https://login.provider.example/token',
  authorizeUrl: 'https://login.provider.example/authorize',
  revocationUrl: 'https://login.provider.example/revoke',
  scopes: [],
  clientAuth: 'post',
}
export const secrets = { clientId: 'id', clientSecret: 'secret' }
