/** Both ends of a child process of the crash tests: its options come as one argument, what it says goes over IPC. */
export function readChildOptions(): unknown {
  // Nothing of a test outlives it, whatever ended it.
  process.on('disconnect', () => process.exit(3))
  return JSON.parse(process.argv[2]!)
}

export function tellParent(said: object): void {
  process.send!(said)
}

/** Calls `then` when the parent asks the child to end in order. */
export function onAskedToStop(then: () => Promise<void>): void {
  process.on('message', (said) => {
    if (said === 'stop') void then().finally(() => process.exit(0))
  })
}
