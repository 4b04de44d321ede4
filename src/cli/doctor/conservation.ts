import { HOUR, durationWords, MINUTE, type Clock } from '../../base/index.ts'
import { lookBack, type Imbalance } from '../../conservation/index.ts'
import type { Queryable } from '../../db/index.ts'
import { fail, ok, warn, type Finding } from './findings.ts'

/** Hours of data that are counted anew, the newest. Nodes count the others in turn. */
const HOURS = 24
const NOT_READ_MS = 5 * MINUTE
const NAMED = 5

/** Whether all that came in is still there: counted now, against what the ledger says. */
export async function lookAtConservation(client: Queryable, tenant: string, clock: Clock): Promise<Finding> {
  const { hours, broken, readAt } = await lookBack(client, tenant, HOURS)
  if (readAt === undefined)
    return ok('Conservation', 'nothing is counted yet; the first start of a node begins with it')
  if (broken.length > 0)
    return fail(
      'Conservation',
      `${broken.slice(0, NAMED).map(imbalanceWords).join('; ')}${broken.length > NAMED ? `; and ${broken.length - NAMED} more` : ''}`,
      'Find out who changed the tables: trestle incidents, and trestle audit verify.',
    )
  if (hours === 0) return ok('Conservation', 'nothing came in yet')
  const silent = clock.now() - readAt
  const since = silent > NOT_READ_MS ? `, up to ${durationWords(silent)} ago` : ''
  return silent > HOUR
    ? warn(
        'Conservation',
        `what there is balances with the ledger${since}`,
        'Newer entries are counted as soon as a node runs: trestle dev, or trestle serve.',
      )
    : ok(
        'Conservation',
        `events and runs balance with the ledger (the newest ${hours} hours of data${since})`,
      )
}

function imbalanceWords({ day, connectionId, flow, expected, counted }: Imbalance): string {
  const what = flow === '' ? `events of ${connectionId}` : `runs of ${flow} for events of ${connectionId}`
  return `${what} on ${day}: the ledger has ${expected}, the tables have ${counted}`
}
