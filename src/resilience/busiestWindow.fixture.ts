/** Points that were used, and when. */
export type Used = readonly [time: number, points: number]

/** The most points that any window of this length holds, wherever it begins. */
export function busiestWindow(uses: readonly Used[], windowMs: number): number {
  const sorted = [...uses].sort((a, b) => a[0] - b[0])
  let most = 0
  let sum = 0
  let from = 0
  for (const [time, points] of sorted) {
    sum += points
    while (sorted[from]![0] <= time - windowMs) sum -= sorted[from++]![1]
    most = Math.max(most, sum)
  }
  return most
}
