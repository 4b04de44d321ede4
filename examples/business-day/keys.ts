/** Gives every key to `press`, until q, Ctrl-C or the signal. What comes through a pipe counts as keys too. */
export function readKeys(press: (key: string) => void, signal: AbortSignal): Promise<void> {
  const { stdin } = process
  return new Promise((resolve) => {
    const end = (): void => {
      signal.removeEventListener('abort', end)
      stdin.off('data', read)
      if (stdin.isTTY) stdin.setRawMode(false)
      // Nothing more is read, and the process need not stay for it.
      stdin.pause()
      if ('unref' in stdin) stdin.unref()
      resolve()
    }
    const read = (text: string): void => {
      for (const key of text) {
        if (key === 'q' || key === '\u0003') return end()
        press(key)
      }
    }
    if (signal.aborted) return resolve()
    signal.addEventListener('abort', end)
    if (stdin.isTTY) stdin.setRawMode(true)
    stdin.setEncoding('utf8').on('data', read)
  })
}
