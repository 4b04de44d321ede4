import { readdirSync, readFileSync } from 'node:fs'

const TICK_MS = 10

/** CPU milliseconds that a process and its children have used; 0 where the system does not tell (not Linux). */
export function cpuMsOfTree(pid: number): number {
  try {
    let ticks = 0
    for (const entry of readdirSync('/proc')) {
      if (!/^\d+$/.test(entry)) continue
      const stat = statOf(entry)
      if (stat && (Number(entry) === pid || stat.parent === pid)) ticks += stat.ticks
    }
    return ticks * TICK_MS
  } catch {
    return 0
  }
}

function statOf(pid: string): { parent: number; ticks: number } | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'utf8')
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ')
    return { parent: Number(fields[1]), ticks: Number(fields[11]) + Number(fields[12]) }
  } catch {
    return undefined
  }
}
