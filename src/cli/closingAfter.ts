/**
 * Does the work and then closes, also after a fault. At Ctrl-C or SIGTERM it closes and ends at once: an embedded
 * database that this process started would otherwise outlive it.
 */
export async function closingAfter<Result>(
  close: () => Promise<void>,
  work: () => Promise<Result>,
): Promise<Result> {
  let interrupted = false
  const onInterrupt = (): void => {
    if (interrupted) process.exit(130)
    interrupted = true
    void close().finally(() => process.exit(130))
  }
  process.on('SIGINT', onInterrupt).on('SIGTERM', onInterrupt)
  try {
    return await work()
  } finally {
    process.off('SIGINT', onInterrupt).off('SIGTERM', onInterrupt)
    // Interrupted, it is being closed already.
    if (!interrupted) await close()
  }
}
