/**
 * What every other folder may rest on: clock, random, ids, errors, durations, money, mail, JSON.
 *
 * Owns: the only reading of the clock and of randomness (invariant 5); the lossless JSON codec.
 * Leaves to others: everything that knows PostgreSQL, HTTP or a provider. Imports nothing of ours.
 */
export * from './clock.ts'
export * from './crashPoint.ts'
export * from './duration.ts'
export * from './errors.ts'
export * from './form.ts'
export * from './ids.ts'
export * from './json.ts'
export * from './mail.ts'
export * from './money.ts'
export * from './random.ts'
