import { mayUse, SCOPE_NAMES, SCOPES, type Scope } from '../../vault/index.ts'
import type { Caller } from './bearer.ts'
import { HttpError } from './problem.ts'
import type { AnyRoute } from './route.ts'

/** What a route needs of whoever asks; it stands with the route's declaration. */
export interface Needs {
  readonly scope: Scope
  /** It is about the installation, and so about every tenant: only tokens of the installation's own may. */
  readonly wholeInstallation?: true
}

/** Throws where a route does not say what it needs: to forget it keeps a node from starting, and opens nothing. */
export function refuseOpen(route: Omit<AnyRoute, 'needs'> & { readonly needs?: Partial<Needs> }): void {
  if (!SCOPE_NAMES.some((scope) => scope === route.needs?.scope))
    throw new TypeError(
      `${route.method.toUpperCase()} ${route.path} does not say who may use it: give it "needs" with one of the scopes in src/vault/rights.ts.`,
    )
}

/** Throws 403 (RFC 6750, 3.1) where the caller may not use the route. */
export function refuseWithout({ needs }: AnyRoute, caller: Caller, installationTenant: string): void {
  if (!mayUse(caller.rights, needs.scope)) throw scopeMissing(needs.scope, caller)
  if (needs.wholeInstallation && caller.tenant !== installationTenant)
    throw new HttpError(
      403,
      'tenant_forbidden',
      `This is about the whole installation, which is no tenant's alone. Use a token of the tenant "${installationTenant}".`,
    )
}

function scopeMissing(scope: Scope, { rights }: Caller): HttpError {
  const { role } = SCOPES[scope]
  const own = rights.scopes
    ? `a ${rights.role} with ${rights.scopes.join(', ') || 'no scope'}`
    : `a ${rights.role}`
  return new HttpError(
    403,
    'scope_missing',
    `This needs the scope ${scope}, which the role ${role} and those above it have. Your token is ${own}. Make one that may with: trestle tokens create NAME --role ${role} --scope ${scope}`,
    {
      headers: {
        'www-authenticate': `Bearer realm="trestle", error="insufficient_scope", scope="${scope}"`,
      },
    },
  )
}
