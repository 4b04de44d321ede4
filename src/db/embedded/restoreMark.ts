import { rm, stat } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { PermanentError } from '../../base/index.ts'

/** Between the two renames there is no data folder: the mark keeps a start from making an empty one then. */
export function restoreMark(home: string): string {
  return `${home}.being-restored`
}

/** Throws where a restore was cut short in the middle of its swap. */
export async function refuseHalfRestored(home: string): Promise<void> {
  if ((await stat(restoreMark(home)).catch(() => undefined)) === undefined) return
  if ((await stat(join(home, 'data', 'PG_VERSION')).catch(() => undefined)) !== undefined) {
    // Both renames were done, or none: there is data, and it is whole.
    await rm(restoreMark(home), { force: true })
    return
  }
  throw new PermanentError(
    'restore_cut_short',
    `A restore into ${home} was cut short. Run the same "trestle restore" again; the former data is kept as ${basename(home)}.before-….`,
  )
}
