import type { LimitDefinition } from 'trestle'

/** What every call counts against; lists count against `lists` too. */
export const ORDINARY = ['requests']
export const LISTS = ['requests', 'lists']

/** No header says what is left: EasyPost's first limit moves with its load and shows only as a 429. */
export const limits: readonly LimitDefinition[] = [
  {
    name: 'requests',
    allowed: 20,
    windowMs: 1000,
    concurrency: 10,
    source:
      'EasyPost limits by its own load and publishes no figure: https://docs.easypost.com/guides/rate-limiting-guide (read 2026-11-22). These figures are our own caution',
  },
  {
    name: 'lists',
    allowed: 5,
    windowMs: 1000,
    source:
      'Five requests a second across index endpoints: https://docs.easypost.com/guides/rate-limiting-guide (read 2026-11-22)',
  },
]
