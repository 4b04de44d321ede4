/**
 * What a flow can start on beside an event that came in: the platform's clock, and a list that is read again and again.
 *
 * Owns: the declarations and their checks. Leaves to others: when it is time, and reading (schedules).
 */
export * from './cron.ts'
export * from './poll.ts'
