import { UsageError } from '../base/index.ts'

/** What a token is for, least first. Each role may all that those before it may. */
export const TOKEN_ROLES = ['viewer', 'operator', 'developer', 'admin'] as const
export type TokenRole = (typeof TOKEN_ROLES)[number]

/** Who each role is for, for people. */
export const ROLE_WORDS: Readonly<Record<TokenRole, string>> = {
  viewer: 'looks, and changes nothing',
  operator: 'keeps things going: sends events, retries, settles, holds back',
  developer: 'changes how things go on: migrates runs, moves polls, sets up connections',
  admin: 'says who may do what: makes, rotates and revokes tokens',
}

/**
 * Everything that a route can need, with the least role that has it. A scope is never given up or renamed: tokens
 * carry it.
 */
export const SCOPES = {
  'events:read': { role: 'viewer', may: 'see events, deliveries and what came in them' },
  'events:emit': { role: 'operator', may: 'send events of your own' },
  'runs:read': {
    role: 'viewer',
    may: 'see runs, dead letters, lanes, flows in flight, and the counts that must balance',
  },
  'runs:retry': { role: 'operator', may: 'let a dead letter go on' },
  'runs:cancel': { role: 'operator', may: 'cancel a run, which undoes what it did' },
  'runs:replay': { role: 'operator', may: 'process an event again, by new runs' },
  'runs:settle': { role: 'operator', may: 'say what became of a step that is in doubt' },
  'runs:migrate': { role: 'developer', may: 'move a run to another version of its flow' },
  'quarantine:read': { role: 'viewer', may: 'see what was kept back' },
  'quarantine:settle': { role: 'operator', may: 'release or discard it' },
  'incidents:read': { role: 'viewer', may: 'see incidents, and who was told' },
  'incidents:acknowledge': { role: 'operator', may: 'take care of one' },
  'connections:read': { role: 'viewer', may: 'see connections, their budgets and outages; never a secret' },
  'connections:test': { role: 'operator', may: "make a connection's check" },
  'connections:isolate': { role: 'operator', may: 'hold back all calls over a connection, and let them go' },
  'connections:write': {
    role: 'developer',
    may: 'authorize a connection, give it secrets, rotate and revoke them',
  },
  'schedules:read': { role: 'viewer', may: 'see schedules and polls' },
  'schedules:run': { role: 'operator', may: 'run one now' },
  'schedules:move': { role: 'developer', may: "move a poll's cursor" },
  'hold:read': { role: 'viewer', may: 'see whether the platform stands still, and what is in doubt' },
  'hold:write': { role: 'operator', may: 'let the platform stand still, and go on' },
  'ledger:read': { role: 'viewer', may: 'see what was exchanged and done' },
  'live:read': { role: 'viewer', may: 'watch the live page' },
  'tokens:read': { role: 'admin', may: 'see what tokens there are' },
  'vault:read': {
    role: 'admin',
    may: 'see what is sealed under which master key, and how far a rotation came',
  },
  'tokens:write': { role: 'admin', may: 'make, rotate and revoke tokens' },
} as const satisfies Readonly<Record<string, { readonly role: TokenRole; readonly may: string }>>
export type Scope = keyof typeof SCOPES
export const SCOPE_NAMES = Object.keys(SCOPES) as readonly Scope[]

/** What a token may do. */
export interface Rights {
  readonly role: TokenRole
  /** Narrows the role to these. Left out: all that the role has. */
  readonly scopes?: readonly Scope[]
}

/** Of whom nobody needs to be asked: a person at the command line of the machine itself. */
export const ALL_RIGHTS: Rights = { role: 'admin' }

/** Whether what needs this scope may be done with these rights. */
export function mayUse(rights: Rights, scope: Scope): boolean {
  return hasRole(rights.role, SCOPES[scope].role) && (rights.scopes?.includes(scope) ?? true)
}

/** Everything that these rights allow, in the order of {@link SCOPES}. */
export function scopesOf(rights: Rights): readonly Scope[] {
  return SCOPE_NAMES.filter((scope) => mayUse(rights, scope))
}

/** What of `wanted` goes beyond `own`: nobody gives what they do not have. Empty: it may be given. */
export function beyond(own: Rights, wanted: Rights): readonly Scope[] {
  return scopesOf(wanted).filter((scope) => !mayUse(own, scope))
}

/** The least role that has all of these; of none, `viewer`. */
export function leastRole(scopes: readonly Scope[]): TokenRole {
  return TOKEN_ROLES.findLast((role) => scopes.some((scope) => SCOPES[scope].role === role)) ?? 'viewer'
}

/**
 * Rights as a person wishes them. Without a role, the least that has the scopes. Throws `token_rights_invalid` where
 * a scope is not of that role: it would be a promise that nothing keeps.
 */
export function rightsOf(wish: {
  readonly role?: TokenRole | undefined
  readonly scopes?: readonly Scope[] | undefined
}): Rights {
  const scopes = wish.scopes && SCOPE_NAMES.filter((scope) => wish.scopes!.includes(scope))
  if (scopes?.length === 0)
    throw new UsageError(
      'token_rights_invalid',
      'A token without any scope may nothing. Leave scopes out, or name one.',
    )
  const role = wish.role ?? leastRole(scopes ?? [])
  const above = scopes?.filter((scope) => !hasRole(role, SCOPES[scope].role)) ?? []
  if (above.length > 0)
    throw new UsageError(
      'token_rights_invalid',
      `The role "${role}" does not have ${above.join(', ')}; "${leastRole(above)}" has. Give that role, or leave the role out: it follows from the scopes.`,
    )
  return { role, ...(scopes && { scopes }) }
}

/** Rights as they are stored. What a newer version has stored, and this one does not know, allows nothing. */
export function storedRights(role: string, scopes: string | null): Rights {
  const known = TOKEN_ROLES.find((one) => one === role)
  if (known === undefined) return { role: 'viewer', scopes: [] }
  if (scopes === null) return { role: known }
  const words = scopes.split(' ')
  return { role: known, scopes: SCOPE_NAMES.filter((scope) => words.includes(scope)) }
}

function hasRole(role: TokenRole, least: TokenRole): boolean {
  return TOKEN_ROLES.indexOf(role) >= TOKEN_ROLES.indexOf(least)
}
