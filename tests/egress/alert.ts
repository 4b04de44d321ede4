import type { Alert } from '../../src/incidents/alerts/channel.ts'

/** An alert as channels are given it: whole, so that what keeps it back is its address and nothing else. */
export const ALERT: Alert = {
  id: 'alr_1',
  payload: {
    incident: 'inc_1',
    kind: 'failing_calls',
    change: 'opened',
    title: 'Calls fail',
    what: 'Calls have failed.',
    since: '2026-11-22T14:03:05.000Z',
    holdsUp: 'No run waits for it.',
    todo: 'Look.',
    connection: null,
    flow: null,
    at: '2026-11-22T14:03:09.000Z',
    resolution: null,
  },
}
