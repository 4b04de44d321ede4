import { timeWords } from '../times.ts'
import type { Clock } from '../../base/index.ts'
import type { MasterKeyReport, RotateResult } from '../../vault/index.ts'

/** What a rotation did, and what is left for a person to do. */
export function rotatedWords({ from, to, sealedAnew, sealed, resumed }: RotateResult): string {
  const count = (n: number): string => n.toLocaleString('en-US')
  return [
    sealedAnew === 0
      ? `Everything is sealed under the master key "${to}" already: ${count(sealed)} values.`
      : `${resumed ? 'The rest is turned' : 'Turned'}: ${count(sealedAnew)} values are sealed anew, each with a new data key. All ${count(sealed)} are under the master key "${to}".`,
    `Nothing needs the former one ("${from}") any more, but backups that were made before: take TRESTLE_MASTER_KEY_PREVIOUS (or .trestle/master.previous.key) away from all nodes, and keep the key as long as you keep those.`,
  ].join('\n')
}

/** How the master key stands, in sentences. */
export function masterKeyWords(
  { sealing, sealed, rotations, present, former, nodes }: MasterKeyReport,
  clock: Clock,
): string {
  const all = [...sealed].map(([name, count]) => `${count.toLocaleString('en-US')} under "${name}"`)
  return [
    `Sealed values: ${all.length === 0 ? 'none' : all.join(', ')}.`,
    ...(sealing === undefined
      ? ['The master key was never rotated.']
      : [`New ones are sealed under "${sealing}".`]),
    ...rotations.map(
      ({ from, to, begunAt, finishedAt, sealedAnew, runner }) =>
        `Rotation from "${from}" to "${to}": begun ${timeWords(begunAt.getTime(), clock)}, ${
          finishedAt === undefined
            ? `not finished, ${sealedAnew.toLocaleString('en-US')} values so far; ${runner === undefined ? 'nobody is at it: go on with "trestle vault rotate"' : `${runner} is at it`}`
            : `finished ${timeWords(finishedAt.getTime(), clock)}, ${sealedAnew.toLocaleString('en-US')} values`
        }.`,
    ),
    `Here: ${keyNames([present, ...(former === undefined ? [] : [former])])}.`,
    ...nodes.map(({ host, pid, keys }) => `${host} pid ${pid}: ${keyNames(keys)}.`),
  ].join('\n')
}

/** What a process can open with, the present key first. */
function keyNames([present, former]: readonly string[]): string {
  return former === undefined
    ? `the master key "${present}"`
    : `the master key "${present}", and the former one "${former}"`
}
