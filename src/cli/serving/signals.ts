/**
 * Resolves at the first SIGINT, SIGTERM or SIGHUP. At a second one `atOnce` is called; the names of the signals that
 * the terminal sends to a whole group can be left to the supervisor.
 */
export function stopSignal(options: {
  readonly atOnce: (signal: NodeJS.Signals) => void
  readonly onFirst?: (signal: NodeJS.Signals) => void
  readonly ignored?: readonly NodeJS.Signals[]
}): Promise<NodeJS.Signals> {
  const ignored = options.ignored ?? []
  for (const signal of ignored) process.on(signal, () => {})
  return new Promise((resolve) => {
    let first = true
    for (const signal of (['SIGINT', 'SIGTERM', 'SIGHUP'] as const).filter((one) => !ignored.includes(one)))
      process.on(signal, () => {
        if (!first) return options.atOnce(signal)
        first = false
        options.onFirst?.(signal)
        resolve(signal)
      })
  })
}
