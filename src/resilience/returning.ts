/** Points and when each may be used again: soonest first. */
export type Returning = readonly (readonly [at: number, points: number])[]

export function pointsIn(returning: Returning): number {
  return returning.reduce((sum, [, points]) => sum + points, 0)
}

/** Both together. Times to come are rounded up to whole multiples of `stepMs`, so that few of them are to be kept. */
export function together(
  one: Returning,
  other: Returning,
  { stepMs, now }: { readonly stepMs: number; readonly now: number },
): Returning {
  const sums = new Map<number, number>()
  for (const [at, points] of [...one, ...other]) {
    if (points <= 0) continue
    const rounded = at <= now ? now : Math.ceil(at / stepMs) * stepMs
    sums.set(rounded, (sums.get(rounded) ?? 0) + points)
  }
  return [...sums].sort(([a], [b]) => a - b)
}

/** Parts off so many points: those that return soonest. */
export function soonest(
  returning: Returning,
  points: number,
): { readonly taken: Returning; readonly left: Returning } {
  const taken: [number, number][] = []
  const left: [number, number][] = []
  let wanted = Math.max(0, points)
  for (const [at, there] of returning) {
    const part = Math.min(there, wanted)
    wanted -= part
    if (part > 0) taken.push([at, part])
    if (there > part) left.push([at, there - part])
  }
  return { taken, left }
}

/** Those that return latest, so many points. */
export function latest(returning: Returning, points: number): Returning {
  return soonest(returning, pointsIn(returning) - points).left
}
