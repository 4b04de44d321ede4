import type { ApiDeps } from '../deps.ts'
import type { AnyRoute } from '../http/route.ts'
import { authorizationRoutes } from './authorizations.ts'
import { budgetRoutes } from './budgets.ts'
import { conservationRoutes } from './conservation.ts'
import { connectionRoutes } from './connections.ts'
import { credentialRoutes } from './credentials.ts'
import { deliveryRoutes } from './deliveries.ts'
import { emitRoutes } from './emit.ts'
import { eventRoutes } from './events.ts'
import { flowRoutes } from './flows.ts'
import { holdRoutes } from './hold.ts'
import { incidentRoutes } from './incidents.ts'
import { laneRoutes } from './lanes.ts'
import { ledgerRoutes } from './ledger.ts'
import { masterKeyRoutes } from './masterKey.ts'
import { outageRoutes } from './outages.ts'
import { quarantineRoutes } from './quarantine.ts'
import { runActionRoutes } from './runActions.ts'
import { runRoutes } from './runs.ts'
import { scheduleRoutes } from './schedules.ts'
import { tokenRoutes } from './tokens.ts'

/** Every route below `/api/v1`, but for the document that describes them. */
export function apiRoutes(deps: ApiDeps): readonly AnyRoute[] {
  return [
    ...emitRoutes(deps),
    ...eventRoutes(deps),
    ...deliveryRoutes(deps),
    ...runRoutes(deps),
    ...runActionRoutes(deps),
    ...laneRoutes(deps),
    ...flowRoutes(deps),
    ...quarantineRoutes(deps),
    ...ledgerRoutes(deps),
    ...incidentRoutes(deps),
    ...conservationRoutes(deps),
    ...connectionRoutes(deps),
    ...credentialRoutes(deps),
    ...authorizationRoutes(deps),
    ...budgetRoutes(deps),
    ...outageRoutes(deps),
    ...scheduleRoutes(deps),
    ...holdRoutes(deps),
    ...tokenRoutes(deps),
    ...masterKeyRoutes(deps),
  ]
}
