/** Things that a provider tells in deliveries: each by itself, or all that happens meanwhile in one. */
export interface Bundle<Told> {
  /** Sends these in one delivery, or keeps them while something is told together. */
  tell(told: readonly Told[]): Promise<void>
  /** Everything that is told meanwhile goes out in one delivery. Where something throws, nothing does. */
  together(happenings: () => Promise<unknown>): Promise<void>
}

/** `send` makes one delivery, of one or more. */
export function createBundle<Told>(send: (told: readonly Told[]) => Promise<void>): Bundle<Told> {
  let gathered: Told[] | undefined
  return {
    async tell(told) {
      if (gathered) gathered.push(...told)
      else await send(told)
    },
    async together(happenings) {
      const all: Told[] = []
      gathered = all
      try {
        await happenings()
      } finally {
        gathered = undefined
      }
      await send(all)
    },
  }
}
