import { Option, type Command } from 'commander'
import { addCommand } from '../command.ts'

/** `trestle backup`: a copy of the embedded database, while it is used. */
export function addBackup(program: Command): void {
  addCommand(program, {
    usage: 'backup <folder>',
    summary: 'copy the embedded database into a new folder, while it is used',
    details: [
      'The copy holds everything that was committed before the copy ended. The folder bears its name only when it is',
      'whole. The master key is never in it. A PostgreSQL of your own (DATABASE_URL) has its own tools: see',
      'docs/guides/backup.md.',
    ].join('\n'),
    examples: [
      'trestle backup /backups/shop-2026-11-22',
      'trestle backup /backups/nightly-7 --verify --json',
    ],
    options: [
      new Option(
        '--verify',
        'start a server on a copy of the backup, and check its ledger; needs twice the space',
      ),
    ],
    async run(context, [folder = ''], options: { readonly verify?: boolean }) {
      const { createBackup } = await import('../backup/create.ts')
      return createBackup(context, folder, options)
    },
  })
}
