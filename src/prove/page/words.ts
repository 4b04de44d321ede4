import { DAY, durationWords, HOUR, MINUTE, SECOND } from '../../base/index.ts'

/** A moment of a drill, counted from its beginning: `day 2 04:13:20.000`. */
export function momentWords(ms: number): string {
  const two = (value: number): string => String(Math.floor(value)).padStart(2, '0')
  const time = `${two((ms % DAY) / HOUR)}:${two((ms % HOUR) / MINUTE)}:${two((ms % MINUTE) / SECOND)}`
  return `day ${Math.floor(ms / DAY) + 1} ${time}.${String(Math.floor(ms % SECOND)).padStart(3, '0')}`
}

export { durationWords }

/** `'1 webhook'`, `'3 webhooks'`. */
export function countWords(count: number, one: string, many = `${one}s`): string {
  return `${count} ${count === 1 ? one : many}`
}

/** The command that plays a drill again, or everything, as it is typed into a shell. */
export function commandWords(seed: string, drill?: string): string {
  const quoted = /^[\w.:-]+$/.test(seed) ? seed : `'${seed.replaceAll("'", `'\\''`)}'`
  return `trestle prove --seed ${quoted}${drill === undefined ? '' : ` --drill ${drill}`}`
}
