import colors from 'picocolors'
import { facts, table } from '../output.ts'
import type { Ready } from './serve.ts'

/** What a server that has come up says to people. */
export function banner(ready: Ready): string {
  const where = facts([
    ['Listens on', ready.url],
    ['Live page', ready.live && `${ready.live} ${colors.dim('(works once)')}`],
    ['Roles', ready.roles.join(', ')],
  ])
  const flows = table(
    ['FLOW', 'STARTS ON', 'WHAT FOR'],
    ready.flows.map((flow) => [flow.name, flow.on, flow.summary]),
    'There are no flows yet. Add one to "flows" in trestle.config.ts.',
  )
  const connections = table(
    ['CONNECTION', 'CONNECTOR', 'STATE', 'WEBHOOKS COME IN AT'],
    ready.connections.map((one) => [one.name, one.connector, one.state, one.webhooks ?? '-']),
    'There are no connections yet. Add one to "connections" in trestle.config.ts.',
  )
  return `${where}\n\n${flows}\n\n${connections}\n`
}
