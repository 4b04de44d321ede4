import { InvalidArgumentError, Option, type Command } from 'commander'
import type { RestoreCommandOptions } from '../backup/restore.ts'
import { addCommand } from '../command.ts'

/** A moment with its zone, in milliseconds. */
export function moment(text: string): number {
  const at = Date.parse(text)
  if (!Number.isNaN(at) && /(Z|[+-]\d\d:?\d\d)$/i.test(text)) return at
  throw new InvalidArgumentError('Write a time with its zone, such as 2026-11-22T14:00:00Z.')
}

/** `trestle restore`: a backup in place of the embedded database. */
export function addRestore(program: Command): void {
  addCommand(program, {
    usage: 'restore <folder>',
    summary: 'put a backup in place of the embedded database; Trestle then starts in hold',
    details: [
      'Stop Trestle first. What was done since the backup is not known to the database: runs that were in flight are in',
      'doubt, and a person looks ("trestle hold") and lets the platform go on ("trestle hold release").',
    ].join('\n'),
    examples: [
      'trestle restore /backups/shop-2026-11-22 --check',
      'trestle restore /backups/shop-2026-11-22 --replace --stopped-at 2026-11-22T14:03:00Z',
    ],
    options: [
      new Option('--replace', 'data that is there makes room; it is kept beside'),
      new Option(
        '--check',
        'only look whether the backup is whole and the key fits; change nothing',
      ).conflicts(['replace', 'stoppedAt']),
      new Option('--stopped-at <time>', 'when the former platform had stopped; by default now').argParser(
        moment,
      ),
    ],
    async run(context, [folder = ''], options: RestoreCommandOptions) {
      const { restoreBackup } = await import('../backup/restore.ts')
      return restoreBackup(context, folder, options)
    },
  })
}
