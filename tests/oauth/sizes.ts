import { SECOND } from '../../src/base/index.ts'

/** With the product's own times: a lease of 30 s, and a token endpoint that takes 15 s at times. */
export const PRODUCT_SIZED = {
  connections: 12,
  callers: 200,
  lifetime: 20,
  slowMs: 15 * SECOND,
  killEvery: 20,
  killAtRandomMs: 15 * SECOND,
} as const
