import { SECOND, type Clock, type Random } from '../base/index.ts'
import type { AuthScheme } from '../define/index.ts'
import type { Egress } from '../egress/index.ts'
import type { Actor } from '../ledger/index.ts'
import { createAuthorizer, type Authorizer, type AuthorizerOptions } from './authorize.ts'
import { createConnectionStore, type Connection, type ConnectionStore } from './connections.ts'
import { createAuthorizations, type Authorizations } from './authorizing/authorizations.ts'
import { createExchanger } from './authorizing/exchange.ts'
import { createOvertake } from './authorizing/overtake.ts'
import { createAuthorizationStore } from './authorizing/store.ts'
import { createCheckStore, type CertificateOf, type CheckStore } from './checks.ts'
import { createGrantStore } from './grants.ts'
import { createLateTokens } from './lateTokens.ts'
import type { Revocation } from './revocation.ts'
import { createRevoker, type Revoker } from './revoke.ts'
import type { MasterKey } from './masterKey.ts'
import { createGrantKeeper } from './oauth.ts'
import { createRefresher, type RefreshTiming } from './refresh.ts'
import { createRefreshLooks } from './refreshAhead.ts'
import { createRefreshStore } from './refreshes.ts'
import type { Environment } from './plan.ts'
import { refuseForeignSeals } from './masterKeyCheck.ts'
import { createKeyHolder, type KeyHolder } from './holders.ts'
import { rotateMasterKey, type RotateRequest, type RotateResult } from './rotate.ts'
import { reportMasterKey, type MasterKeyReport } from './rotations.ts'
import { open, seal } from './seal.ts'
import { placeInInstallation } from './sealedColumns.ts'
import { sealingKey } from './sealingKey.ts'
import { createRotator, type Rotator } from './rotation.ts'
import { createSecretStore } from './secrets.ts'
import { createStanding, type StandingAuthorizer } from './standing.ts'
import type { ConnectionRef, RecordEntry, VaultStorage } from './storage.ts'
import { createConnectionSync, type ConnectionSync } from './sync.ts'
import { createTokenStore, type TokenStore } from './tokens.ts'
import { createPlanWriter } from './writePlan.ts'

/** How often a node looks for grants to refresh ahead, in milliseconds. */
export const REFRESH_AHEAD_EVERY_MS = 10 * SECOND

export interface VaultOptions {
  readonly storage: VaultStorage
  readonly key: MasterKey
  readonly clock: Clock
  readonly random: Random
  /** Writes a ledger entry in the transaction of the change. */
  readonly record: RecordEntry
  /** The way out to token endpoints. It must end within the request's `timeoutMs`. */
  readonly send: Egress['send']
  /** The auth scheme of a connector, by the connector's name. */
  readonly authOf: (connector: string) => AuthScheme | undefined
  /** The base URL of a connector, by its name. Default: none, so that no account's own takes its place. */
  readonly baseUrlOf?: (connector: string) => string | undefined
  /** Where declared secrets are read from: `process.env`. */
  readonly environment: Environment
  /** By which a refresh that another node does is waited for. Default: `clock`. */
  readonly pollClock?: Clock
  /** A connection that nobody called over for so long is checked. Default: a day; 0: never. */
  readonly idleCheckAfterMs?: number | undefined
  /** The certificate that the server at a URL showed last to this process. Default: none is known. */
  readonly certificateOf?: CertificateOf | undefined
  /** For simulations: how long a refresh may take. */
  readonly refreshTiming?: RefreshTiming | undefined
}

/** The two functions for a secret that another folder keeps; see the ledger's `KeySeal`. */
export interface InstallationSeal {
  seal(plain: Buffer): Promise<Buffer>
  /** Throws `secret_unreadable`. */
  open(sealed: Buffer): Promise<Buffer>
}

/** Connections and credentials. */
export interface Vault
  extends
    Authorizer,
    ConnectionSync,
    KeyHolder,
    Omit<ConnectionStore, 'forget' | 'removeConnection' | 'refuseDeclared'>,
    Rotator,
    Omit<CheckStore, 'noteRefusal' | 'saveUses'> {
  /**
   * Authorizes over one connection also while the database is away, and whatever state the connection is in: for what
   * tells people that something is wrong. Opens its secrets once, and throws what stands in the way: `not_found`,
   * `secret_missing`, `secret_unreadable`, `connection_revoked`.
   */
  standing(tenant: string, name: string): Promise<StandingAuthorizer>
  /** Authorizations that a person gives in a browser. */
  readonly authorizations: Omit<Authorizations, 'drain'>
  /**
   * Takes the grant back at the provider, and deletes the connection's secrets and its endpoint, whatever the provider
   * says. It stays as `revoked` for what refers to it. Throws `connection_declared` if the configuration has it.
   */
  removeConnection(tenant: string, name: string, actor: Actor): Promise<Revocation>
  /** Takes the grant back at the provider; the connection needs an authorization then. Throws `not_found`. */
  readonly revokeGrant: Revoker['revokeGrant']
  /**
   * Throws `master_key_wrong` if something sealed in the database cannot be opened with this master key. Both
   * `syncDeclared` and `addConnection` ask it before they write.
   */
  checkMasterKey(): Promise<void>
  /**
   * Turns everything sealed from the former master key to the present one, while the platform works. Goes on with one
   * that was begun and not finished. Throws before it writes where the keys do not fit (`previous_key_missing`,
   * `previous_key_wrong`, `master_keys_same`, `master_key_used_before`, `nodes_lack_key`, `rotation_under_way`);
   * stopped by its signal, `rotation_stopped`.
   */
  rotateMasterKey(request: RotateRequest): Promise<RotateResult>
  /** How the master key stands: what is sealed under which, how far a rotation came, and who knows which keys. */
  masterKeyState(): Promise<MasterKeyReport>
  readonly tokens: TokenStore
  /**
   * Looks once for grants that near their end, whether they are in use or not; gives how many there were. Every node
   * calls it every {@link REFRESH_AHEAD_EVERY_MS}.
   */
  refreshAhead(): Promise<number>
  /**
   * The same for refreshes that lost their node. An answer that was lost with it is found out here, so no other grant
   * is waited for: the next look is made although one before it is still at work. Tokens that a refresh brought after
   * its grant was taken back are taken back here, too.
   */
  refreshLeftBehind(): Promise<number>
  /**
   * Resolves when every refresh that this process began is over, so that what a token endpoint answers then is not lost,
   * and what was noted of uses is written.
   */
  drain(): Promise<void>
  /** Seals a secret of the installation itself, such as the ledger's signing key. `name` tells it from others. */
  installationSeal(name: string): InstallationSeal
}

/** Builds the vault. It holds no sockets and no timers that keep a process alive, so there is nothing to stop. */
export function createVault(options: VaultOptions): Vault {
  const { storage, key, clock, random, record, send } = options
  const secrets = createSecretStore({ storage, key, random, clock, record })
  const grants = createGrantStore({ key, random, clock })
  const connections = createConnectionStore({ storage, secrets, authOf: options.authOf, clock, record })
  const forget = (connection: ConnectionRef): void => connections.forget(connection)
  const { noteRefusal, saveUses, ...checks } = createCheckStore({
    storage,
    clock,
    random,
    record,
    authOf: options.authOf,
    idleMs: options.idleCheckAfterMs,
    certificateOf: options.certificateOf,
    onStateChanged: forget,
  })
  const readSecrets = (connection: ConnectionRef) => secrets.read(connection)
  const late = createLateTokens({ storage, key, clock, random, send, readSecrets, record })
  const refresher = createRefresher({
    storage,
    grants,
    late,
    refreshes: createRefreshStore({ key, random }),
    readSecrets,
    send,
    clock,
    random,
    pollClock: options.pollClock ?? clock,
    timing: options.refreshTiming,
    record,
    onStateChanged: forget,
    async onFormerClient(connection) {
      const own = await secrets.read(connection).catch(() => undefined)
      if (own === undefined) return
      const reason = `The token endpoint refuses the new clientSecret of connection "${connection.name}", and takes the former one. Give the right one before the overlap ends: trestle connections rotate ${connection.name} --secret clientSecret=prompt`
      await noteRefusal({ connection, version: own.version, reason, formerUsed: true })
    },
  })
  const keeper = createGrantKeeper({ storage, grants, refresher, clock })
  const looks = createRefreshLooks({
    storage,
    keeper,
    refresher,
    clock,
    loadConnectionById: (tenant, id) => connections.loadConnectionById(tenant, id),
  })
  const authorizing: AuthorizerOptions = {
    secrets,
    clock,
    onRefused: noteRefusal,
    grants: keeper,
    tokensOf: async (connection) => {
      const grant = (await grants.read(storage.reader, connection))?.grant
      return [grant?.accessToken, grant?.refreshToken].filter((token) => token !== undefined)
    },
  }
  const authorizer = createAuthorizer(authorizing)
  const standing = createStanding(authorizing)
  const byId = (tenant: string, id: string): Promise<Connection> => connections.loadConnectionById(tenant, id)
  const overtake = createOvertake({ clock, record })
  const revoker = createRevoker({
    storage,
    grants,
    readSecrets,
    send,
    authOf: options.authOf,
    loadConnection: (tenant, name) => connections.loadConnection(tenant, name),
    clock,
    record,
    late,
    overtake,
    recover: (connection) => refresher.recover(connection),
    onChanged: forget,
  })
  const writer = createPlanWriter({ secrets, grants, overtake, late, clock, record })
  const checkMasterKey = (): Promise<void> => refuseForeignSeals(storage.reader, key)
  const rotator = createRotator({
    storage,
    secrets,
    authOf: options.authOf,
    clock,
    record,
    checkMasterKey,
    onChanged: forget,
  })
  const sync = createConnectionSync({
    storage,
    writer,
    clock,
    record,
    environment: options.environment,
    checkMasterKey,
    onChanged: forget,
  })
  const store = createAuthorizationStore({ key, random, clock })
  const exchanger = createExchanger({
    storage,
    store,
    grants,
    writer,
    readSecrets,
    loadConnectionById: byId,
    authOf: options.authOf,
    baseUrlOf: options.baseUrlOf ?? (() => undefined),
    send,
    clock,
    pollClock: options.pollClock ?? clock,
    record,
    onChanged: forget,
  })
  const authorizations = createAuthorizations({
    storage,
    store,
    exchanger,
    readSecrets,
    loadConnection: (tenant, name) => connections.loadConnection(tenant, name),
    loadConnectionById: byId,
    authOf: options.authOf,
    clock,
    random,
    record,
  })
  return {
    ...authorizer,
    ...checks,
    ...rotator,
    ...sync,
    ...connections,
    ...createKeyHolder({ storage, key }),
    checkMasterKey,
    standing: async (tenant, name) => standing(await connections.loadConnection(tenant, name)),
    refreshAhead: () => looks.ahead(),
    refreshLeftBehind: async () => (await looks.leftBehind()) + (await late.revoke()),
    authorizations,
    revokeGrant: (tenant, name, actor) => revoker.revokeGrant(tenant, name, actor),
    async removeConnection(tenant, name, actor) {
      await connections.refuseDeclared(tenant, name)
      const revocation = await revoker.revokeAtProvider(tenant, name, actor)
      await connections.removeConnection(tenant, name, actor)
      return revocation
    },
    async drain() {
      await Promise.all([keeper.drain(), authorizations.drain(), saveUses()])
    },
    rotateMasterKey: (request) =>
      rotateMasterKey(
        { storage, key, clock, pollClock: options.pollClock ?? clock, random, record },
        request,
      ),
    masterKeyState: () => reportMasterKey(storage.reader, key),
    tokens: createTokenStore({ storage, clock, random, record }),
    installationSeal(name) {
      const place = placeInInstallation(name)
      return {
        seal: async (plain) => seal((await sealingKey(storage.reader, key)).wrapper, place, plain, random),
        open: (sealed) => open(key, place, sealed),
      }
    },
  }
}
