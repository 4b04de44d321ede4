import type { LimitDefinition } from 'trestle'

/** No header says what is left, and there is no figure for a time: only requests in flight are limited. */
export const limits: readonly LimitDefinition[] = [
  {
    name: 'connections',
    allowed: 100,
    windowMs: 1000,
    concurrency: 10,
    source:
      'Ten simultaneous connections: https://mailchimp.com/developer/marketing/docs/fundamentals/ (read 2026-11-23). There is no limit in time; 100 a second is our own caution',
  },
]
