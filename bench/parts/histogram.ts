/** Latencies and what they came to. Milliseconds. */
export interface Latency {
  readonly count: number
  readonly p50: number
  readonly p99: number
  readonly p999: number
  readonly max: number
}

export function latencyOf(samples: number[]): Latency {
  const sorted = Float64Array.from(samples).sort()
  const at = (share: number): number =>
    round(sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? Number.NaN)
  return {
    count: sorted.length,
    p50: at(0.5),
    p99: at(0.99),
    p999: at(0.999),
    max: round(sorted.at(-1) ?? Number.NaN),
  }
}

export function round(value: number, digits = 2): number {
  return Number(value.toFixed(digits))
}
