import { RetryableError, type Clock } from '../../base/index.ts'

/**
 * What `work` gives, or after `ms` milliseconds a {@link RetryableError} `deadline_exceeded`: then what came of the
 * work is not known.
 */
export async function within<Result>(
  clock: Clock,
  ms: number,
  what: string,
  work: Promise<Result>,
): Promise<Result> {
  let cancel = (): void => {}
  const late = new Promise<never>((_, reject) => {
    cancel = clock.after(ms, () =>
      reject(
        new RetryableError(
          'deadline_exceeded',
          `${what} did not answer within ${ms} ms. Whether it was done is not known; ask again.`,
        ),
      ),
    )
  })
  work.catch(() => {}) // Nobody hears of it once the deadline has answered.
  try {
    return await Promise.race([work, late])
  } finally {
    cancel()
  }
}
