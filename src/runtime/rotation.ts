import { UsageError } from '../base/index.ts'
import type { CallOutcome } from '../calls/index.ts'
import type { Actor } from '../ledger/index.ts'
import type { Rotated, RotationWish } from '../vault/index.ts'
import { callsTrying } from './calls.ts'
import { hasCheapRead } from './connectionChecks.ts'
import { refuseInHold } from './hold.ts'
import type { Installation } from './installation.ts'

export interface CredentialRotation extends RotationWish {
  /** The new one takes over although nobody has tried it. Default: it is tried first. */
  readonly untested?: boolean | undefined
}

export interface RotatedCredential extends Rotated {
  /** `true`: the provider took the new one. */
  readonly tested: boolean
}

/**
 * Rotates secrets of a connection with an overlap. A new credential is tried by the connector's check before it takes
 * over: one that the provider refuses changes nothing.
 */
export async function rotateCredential(
  installation: Installation,
  tenant: string,
  name: string,
  { untested, ...wish }: CredentialRotation,
  actor: Actor,
): Promise<RotatedCredential> {
  const { vault } = installation
  await vault.checkRotation(tenant, name, wish)
  // What no call carries cannot be tried by one; a client's secret is held against the next refresh.
  const { webhookSecret: _, clientSecret: __, ...candidate } = wish.secrets
  const tested = untested !== true && Object.keys(candidate).length > 0
  if (tested) await tryCandidate(installation, tenant, name, candidate)
  return { ...(await vault.rotate(tenant, name, wish, actor)), tested }
}

async function tryCandidate(
  installation: Installation,
  tenant: string,
  name: string,
  candidate: Readonly<Record<string, string>>,
): Promise<void> {
  await refuseInHold(installation.database.pool)
  const connection = await installation.vault.loadConnection(tenant, name)
  const connector = installation.connectorNamed(connection.connector)
  if (connector === undefined || !hasCheapRead(connector))
    throw new UsageError(
      'credential_untested',
      `There is no cheap read to try the new secret of "${name}" with. Nothing was changed. Let it take over all the same with: --untested`,
    )
  const outcome = await callsTrying(installation, candidate).testConnection({
    ...connection,
    connector,
    allowPrivate: connection.allowPrivateNetwork,
  })
  if (outcome.as !== 'succeeded') throw refusalOf(name, connector.title, outcome)
}

function refusalOf(name: string, title: string, outcome: CallOutcome): UsageError {
  const reason = 'reason' in outcome ? outcome.reason : outcome.as
  const status = 'exchange' in outcome ? outcome.exchange?.status : undefined
  return status === 401
    ? new UsageError(
        'credential_refused',
        `${title} refuses the new secret of "${name}" (401). Nothing was changed. Look whether it was copied whole and is of this account; where it counts only later, give it then, or with --untested: as long as the overlap lasts, calls use the former one where the new one is refused.`,
      )
    : new UsageError(
        'credential_untested',
        `The new secret of "${name}" could not be tried, and nothing was changed: ${reason} Try again, or let it take over all the same with: --untested`,
      )
}
