import { createHubspotStandIn } from 'trestle/connectors/hubspot/stand-in'
import type { CreateStandIn } from 'trestle/testing'

/** What `trestle prove` must know beyond the connectors' own stand-ins: the portal's custom properties. */
const hubspot: CreateStandIn = (options) =>
  createHubspotStandIn(options, { properties: ['membership_paid_until'] })

export default { standIns: { hubspot } }
