import { SECOND } from '../../src/base/index.ts'
import type { CampaignOptions, CampaignReport } from './campaign.ts'

type Size = Pick<
  CampaignOptions,
  'connections' | 'idle' | 'callers' | 'lifetime' | 'slowMs' | 'timing' | 'killEvery' | 'killAtRandomMs'
>

/** With the product's own times: a lease of 30 s, and a token endpoint that takes 15 s at times. */
export const PRODUCT_SIZED: Size = {
  connections: 10,
  idle: 3,
  callers: 200,
  lifetime: 20,
  slowMs: 15 * SECOND,
  killEvery: 20,
  killAtRandomMs: 15 * SECOND,
}

/** For a minute: a lease of 30 s, which a machine that stands still for ten does not use up. */
export const SHORT_SIZED: Size = {
  connections: 6,
  idle: 2,
  callers: 200,
  lifetime: 6,
  slowMs: 3 * SECOND,
  killEvery: 4,
  killAtRandomMs: 6 * SECOND,
}

/** Most that somebody may be told after, and that a call may wait for a grant that can be had. */
const TOLD_WITHIN_MS = 60 * SECOND
const RECOVERED_WITHIN_MS = 5 * SECOND

/** What came later than promised, in words. On a busy machine perhaps because of the others. */
export function lateIn({ toldMs, recoveredMs }: CampaignReport): string[] {
  return [
    ...toldMs.filter((ms) => ms > TOLD_WITHIN_MS).map((ms) => `a lost grant was told after ${ms} ms`),
    ...recoveredMs
      .filter((ms) => ms > RECOVERED_WITHIN_MS)
      .map((ms) => `a grant could be had, and the next call was good after ${ms} ms`),
  ]
}
