import { DAY } from '../base/index.ts'
import type { AuthScheme } from '../define/index.ts'
import { formerOf, kindOf } from './formers.ts'
import { GRANT_FIELD } from './secrets.ts'

/** When something of a credential ends, and who sees to the next. */
export interface Ending {
  readonly what:
    | 'access token'
    | 'authorization'
    | 'unused authorization'
    | 'secret'
    | 'former secret'
    | 'certificate'
  /** The secret's field; of an OAuth grant and of the server's certificate none. */
  readonly field: string | undefined
  readonly endsAt: Date
  /** `trestle`: it is renewed, or ends as it should, by itself. `provider`: as a rule by those who run the server. */
  readonly by: 'trestle' | 'person' | 'provider'
  /** What is done, in a sentence. */
  readonly todo: string
}

/** What the database says in clear of a secret. */
export interface SecretTimes {
  readonly field: string
  readonly expiresAt: Date | undefined
  readonly endsAt: Date | undefined
  readonly updatedAt: Date
}

/** Whose credentials end. */
export interface Holder {
  readonly name: string
  readonly auth: AuthScheme | undefined
  readonly allowPrivateNetwork: boolean
}

/** All that is known to end of a connection's credentials and of its server's certificate, the next first. */
export function endingsOf(
  { name, auth, allowPrivateNetwork }: Holder,
  secrets: readonly SecretTimes[],
  certificateEndsAt?: Date,
): readonly Ending[] {
  return [
    ...secrets.flatMap((one) =>
      one.field === GRANT_FIELD ? grantEndings(name, auth, one) : secretEndings(name, one),
    ),
    ...(certificateEndsAt ? [certificateEnding(certificateEndsAt, allowPrivateNetwork)] : []),
  ].sort((a, b) => a.endsAt.getTime() - b.endsAt.getTime())
}

/** What stands in a private network is run by people one can ask. */
function certificateEnding(endsAt: Date, isOwn: boolean): Ending {
  const certificate = { what: 'certificate', field: undefined, endsAt } as const
  return isOwn
    ? { ...certificate, by: 'person', todo: 'Renew it on that server before.' }
    : { ...certificate, by: 'provider', todo: 'Nothing: those who run that server renew it, as a rule.' }
}

function grantEndings(name: string, auth: AuthScheme | undefined, grant: SecretTimes): readonly Ending[] {
  const { expiresAt, endsAt, updatedAt } = grant
  const unused = auth?.kind === 'oauth2' ? auth.unusedGrantEnds : undefined
  const refreshed = { field: undefined, by: 'trestle', todo: 'Nothing: it is refreshed before.' } as const
  const again = `Authorize it again before: trestle connections add ${name}`
  return [
    ...(expiresAt ? [{ ...refreshed, what: 'access token' as const, endsAt: expiresAt }] : []),
    ...(endsAt
      ? [{ what: 'authorization', field: undefined, endsAt, by: 'person', todo: again } as const]
      : []),
    ...(unused
      ? [
          {
            ...refreshed,
            what: 'unused authorization' as const,
            endsAt: new Date(updatedAt.getTime() + unused.afterDays * DAY),
          },
        ]
      : []),
  ]
}

function secretEndings(name: string, { field, expiresAt, endsAt }: SecretTimes): readonly Ending[] {
  const former = formerOf(field)
  if (former !== undefined) {
    if (expiresAt === undefined) return []
    const todo = 'End it at the provider after that.'
    return [{ what: 'former secret', field: former.kind, endsAt: expiresAt, by: 'person', todo }]
  }
  if (endsAt === undefined) return []
  const todo = `Put the next one in place before: trestle connections rotate ${name} --secret ${kindOf(field)}=prompt`
  return [{ what: 'secret', field: kindOf(field), endsAt, by: 'person', todo }]
}
