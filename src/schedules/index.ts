/**
 * What starts by itself: schedules on the clock, and lists of providers that are read again and again.
 *
 * Owns: when a schedule is due (its rule for changed clocks too), what becomes of times that were missed, how far each
 * poll has read, and the table schedules.
 * Leaves to others: what cron expressions and polls look like (define), asking the provider (calls), deduplication,
 * runs and wake-ups (inbox), executing (flows).
 *
 * Invariants
 * 1. A schedule's next time and the event of the time before it are one transaction. The event's key is made of
 *    schedule and due time: no time fires twice, whatever happens to the row.
 * 2. A time that passes without running is on record as skipped.
 * 3. A poll's cursor, the page and its events are one transaction; the page is the delivery that they point into.
 * 4. The cursor never passes a page that could not be read. An item that does not fit is quarantined, and on record.
 * 5. One node has a poll at a time; what it writes carries the fence of its claim.
 */
export { declaredSchedules, withScheduleEvents, type Declared } from './declared.ts'
export { Scheduler, type SchedulerOptions } from './scheduler.ts'
export { movePoll, runSchedule } from './byHand.ts'
export { listSchedules, type ListedSchedule } from './read.ts'
export { createOccurrences } from './occurrences.ts'
export { readPage } from './page.ts'
export { askOf, behind, firstPosition } from './position.ts'
