import { expect, it } from 'vitest'
import { createFakeClock } from '../testing/index.ts'
import { Lease } from './lease.ts'

function openLease() {
  const clock = createFakeClock()
  const lease = new Lease(clock, 4000)
  return { clock, lease }
}

it('holds from a heartbeat on, for its time, and again after the next one', async () => {
  const { clock, lease } = openLease()
  expect(lease.holds()).toBe(false)
  lease.extend(lease.moment())
  await clock.advance(3999)
  expect(lease.holds()).toBe(true)
  await clock.advance(1)
  expect(lease.holds()).toBe(false)
  lease.extend(lease.moment())
  expect(lease.holds()).toBe(true)
})

it('counts from before the heartbeat was sent, however late it was answered', async () => {
  const { clock, lease } = openLease()
  const from = lease.moment()
  await clock.advance(3000)
  lease.extend(from)
  await clock.advance(1000)
  expect(lease.holds()).toBe(false)
})

it('is over where the machine slept, though the monotonic clock stood still', () => {
  const { clock, lease } = openLease()
  lease.extend(lease.moment())
  clock.set(clock.now() + 60_000)
  expect(lease.holds()).toBe(false)
})

it('ends for good', () => {
  const { lease } = openLease()
  lease.extend(lease.moment())
  lease.end()
  expect(lease.holds()).toBe(false)
})
