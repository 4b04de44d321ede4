import { closeSync, existsSync, fsyncSync, openSync, readFileSync, writeSync } from 'node:fs'

/** A file of JSON lines that outlives whoever writes it. */
export interface Journal<Line> {
  /** Returns once the line is on disk. */
  synced(line: Line): void
  /** For what may be lost with a machine, though not with a process. */
  write(line: Line): void
  close(): void
}

export function openJournal<Line>(file: string): Journal<Line> {
  const handle = openSync(file, 'a', 0o600)
  const write = (line: Line): void => void writeSync(handle, `${JSON.stringify(line)}\n`)
  return {
    write,
    synced(line) {
      write(line)
      fsyncSync(handle)
    },
    close: () => closeSync(handle),
  }
}

/** Its lines. What a killed process did not write to the end is none. */
export function readJournal(file: string): readonly unknown[] {
  if (!existsSync(file)) return []
  const whole = readFileSync(file, 'utf8').split('\n').slice(0, -1)
  return whole.map((line): unknown => JSON.parse(line))
}
