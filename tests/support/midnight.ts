import { DAY, pause, systemClock } from '../../src/base/index.ts'

/**
 * Resolves when no day of UTC ends within the next `ms` milliseconds: for a test that counts by days, so that all of it
 * is of one. At nearly every hour that is at once.
 */
export async function farFromMidnight(ms: number): Promise<void> {
  const left = DAY - (systemClock.now() % DAY)
  if (left < ms) await pause(systemClock, left, { keepAlive: true })
}
