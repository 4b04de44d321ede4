import type { MasterKeyReport } from '../../vault/index.ts'
import { ok, warn, type Finding } from './findings.ts'

/** Where a former key is set. */
const FORMER = 'TRESTLE_MASTER_KEY_PREVIOUS (or .trestle/master.previous.key)'

/** Of secrets that open: whether a rotation waits to be begun or finished, and whether the former key is needed still. */
export function secretsFinding({ sealing, sealed, rotations, present, former }: MasterKeyReport): Finding {
  const current = sealing ?? former ?? present
  const others = [...sealed].filter(([name]) => name !== current)
  const left = others.reduce((sum, [, count]) => sum + count, 0)
  const names = others.map(([name]) => `"${name}"`).join(', ')
  const begun = rotations.find(({ to, finishedAt }) => to === sealing && finishedAt === undefined)
  if (begun?.runner !== undefined)
    return ok('Secrets', `the master key is being rotated: ${left} are sealed under the former one still`)
  if (begun !== undefined)
    return warn(
      'Secrets',
      `the rotation of the master key that began ${begun.begunAt.toISOString()} is not finished: ${left} are sealed under the former one still, and nobody is at it`,
      'Both keys are needed until it is: trestle vault rotate',
    )
  if (left > 0)
    return warn(
      'Secrets',
      `${left} are sealed under ${names} still, and all others under "${current}": they were put there after the rotation, as from a backup`,
      'The former key is needed as long as that is so. Seal them anew: trestle vault rotate',
    )
  if (former !== undefined && current === former)
    return warn(
      'Secrets',
      `the rotation to the master key "${present}" is prepared and not begun: all are sealed under "${former}"`,
      `When every node has both keys (see: trestle vault): trestle vault rotate. If there is to be none: put the former key back into TRESTLE_MASTER_KEY, and take ${FORMER} away.`,
    )
  if (former !== undefined)
    return warn(
      'Secrets',
      `all are sealed under "${current}": the rotation of the master key is over, and the former key is still here`,
      `Take ${FORMER} away from all nodes.`,
    )
  return ok('Secrets', 'they were sealed with this master key')
}
