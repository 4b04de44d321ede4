import type { AnyConnector, OAuth2Scheme } from '../define/index.ts'
import type { Egress } from '../egress/index.ts'
import { connectorWith } from '../vault/vault.fixture.ts'
import type { Vault } from '../vault/index.ts'

/** A provider that is shown a key. */
export const keyed: AnyConnector = connectorWith('keyed', { kind: 'api_key', header: 'X-Key' })

const AT = 'https://login.provider.example'
const SCHEME: OAuth2Scheme = {
  kind: 'oauth2',
  tokenUrl: `${AT}/token`,
  authorizeUrl: `${AT}/authorize`,
  revocationUrl: `${AT}/revoke`,
  scopes: [],
  clientAuth: 'post',
  account: [
    {
      from: { kind: 'choice', url: '/shops', id: 'key', name: 'label' },
      to: { kind: 'setting', name: 'shop' },
    },
  ],
}
/** A provider at which a person authorizes, for one of two shops. */
export const shops: AnyConnector = connectorWith('shops', SCHEME)

const ANSWERS: Readonly<Record<string, unknown>> = {
  '/token': { access_token: 'at_1', refresh_token: 'rt_1', token_type: 'Bearer', expires_in: 3600 },
  '/revoke': {},
  '/shops': [
    { key: 's1', label: 'Harbour' },
    { key: 's2', label: 'Station' },
  ],
}
/** What the provider of the shops answers, by path. */
export const sendToShops: Egress['send'] = ({ url }) => {
  const said = ANSWERS[new URL(url).pathname]
  return Promise.resolve({
    as: 'answered',
    status: said === undefined ? 404 : 200,
    headers: {},
    body: Buffer.from(JSON.stringify(said ?? {})),
    ms: 1,
  })
}

/** Begins an authorization and goes a browser's way, whose person agrees: it waits for the choice of a shop. */
export async function choosing(vault: Vault, name: string): Promise<string> {
  const { authorizations } = vault
  const begun = await authorizations.begin({
    tenant: 'default',
    name,
    publicUrl: 'http://127.0.0.1:3000',
    actor: 'operator:test',
  })
  const { location, cookie } = await authorizations.open(begun.address.split('/').at(-1)!, () => undefined)
  const state = new URL(location).searchParams.get('state')!
  const { id } = await authorizations.callback(
    'shops',
    new URLSearchParams({ code: 'code', state }),
    (asked) => (asked === cookie.name ? cookie.value : undefined),
  )
  return id
}
