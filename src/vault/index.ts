/**
 * Connections and credentials.
 *
 * Owns: sealing and opening of secrets, the master key, connections with their endpoints, the authorization of
 * requests, OAuth grants: how a person gives them, their refresh and revocation; the API's own tokens.
 * Leaves to others: sending (egress; the vault is handed its `send`), deciding what a refused call means and when it
 * is tried again (calls, flows), checking webhook signatures (webhooks), redaction by value (ledger), the ledger's
 * own entries (it is handed a `record`).
 *
 * Invariants
 * 1. A secret is stored sealed only, under the place that it belongs to; anywhere else it does not open.
 * 2. Opened secrets leave this folder in three ways: in the headers that `authorize` names as secret, as
 *    `webhookSecrets`, and as `secretValuesOf` for redaction. No error, ledger entry or listing holds one.
 * 3. A change of a credential or connection and its ledger entry are one transaction.
 * 4. An OAuth grant has one refresh at a time over all nodes, by a lease that outlives the slowest answer; one that
 *    lost its lease replaces nothing, by the grant's version. Nothing is locked while a token endpoint thinks. What it
 *    answers is sealed and committed before it is read, and a new grant is committed before it is used.
 * 5. A grant is believed dead only if the provider says `invalid_grant` to the grant that is still current, and no
 *    other answer for it is there to be read; nothing of it is deleted then. What cannot be renewed, such as a key, only
 *    if the check refuses it, too, after a refusal of the same one.
 * 6. With another master key than the one that sealed what is there, nothing is written. Everything new is sealed under
 *    the key that the database names, and a rotation leaves nothing under the former one.
 * 7. Secrets are in memory for 5 s at most after they were read (an OAuth grant: 60 s), and never longer than the
 *    cache's limit allows. A token endpoint's answer that could not be committed is kept until it is. Those of alerts
 *    are kept sealed, so that they can be opened while the database is away.
 * 8. A connection holds the credentials of one scheme: secrets that are complete for another take the former's place.
 * 9. An authorization goes on only in the browser that began it, at the redirect URI of its connector, once, and for
 *    the account that the connection is for. Its code is used once; what it brings is sealed and committed before it is
 *    read, and replaces the grant in one transaction with the ledger.
 * 10. What a refresh brings after a person took its grant back is used by nobody, and kept sealed until the provider
 *    has taken it back, too, at most for 78 tries. Nothing is asked while somebody authorizes the connection anew; with
 *    another grant in place it is left alone. Its end is on record.
 * 11. A token gives no more than it has, nor for longer; of a token only its hash is kept.
 */
export {
  type AuthorizationContext,
  type AuthorizedRequest,
  type Authorizer,
  type UnauthorizedRequest,
} from './authorize.ts'
export {
  type Authorization,
  type Authorizations,
  type BegunAuthorization,
  type Cookies,
} from './authorizing/authorizations.ts'
export { type Connection, type ListedConnection } from './connections.ts'
export { weaknessOfKey } from './keyStrength.ts'
export {
  readMasterKey,
  type FoundMasterKey,
  type KeyWrapper,
  type MasterKey,
  type MasterKeyOptions,
} from './masterKey.ts'
export { type CheckResult, type DueCheck } from './checks.ts'
export { LONGEST_OVERLAP_MS, type Rotated, type RotationWish } from './rotation.ts'
export { type AfterUnauthorized } from './oauth.ts'
export { type RotateResult } from './rotate.ts'
export { type MasterKeyReport } from './rotations.ts'
export { countSealed } from './sealedColumns.ts'
export { type RefreshTiming } from './refresh.ts'
export { type Revocation } from './revocation.ts'
export { type StandingAuthorizer } from './standing.ts'
export { type ConnectionRef, type RecordEntry, type VaultStorage } from './storage.ts'
export { type NewConnection, type SyncedConnection, type SyncResult } from './sync.ts'
export {
  ALL_RIGHTS,
  mayUse,
  rightsOf,
  SCOPE_NAMES,
  SCOPES,
  scopesOf,
  TOKEN_ROLES,
  type Rights,
  type Scope,
  type TokenRole,
} from './rights.ts'
export {
  type CreatedToken,
  type JudgedToken,
  type ListedToken,
  type TokenStore,
  type VerifiedToken,
} from './tokens.ts'
export {
  createVault,
  REFRESH_AHEAD_EVERY_MS,
  type InstallationSeal,
  type Vault,
  type VaultOptions,
} from './vault.ts'
