import { Option, type Command } from 'commander'
import type { VerifyOptions } from '../audit/verify.ts'
import { addCommand, addGroup } from '../command.ts'
import { wholeNumber } from '../parse.ts'

/** `trestle audit`: whether the ledger is what was written. */
export function addAudit(program: Command): void {
  const audit = addGroup(program, 'audit', 'whether the ledger is what was written')

  addCommand(audit, {
    usage: 'verify',
    summary: 'check every entry against the signed blocks and the checkpoints',
    isDefault: true,
    details: [
      'Reads the database, or with --from a copy made by "trestle audit export", offline. Ends with 1 where something',
      'does not hold. What it proves rests on checkpoints and on the public key that were kept outside the database.',
    ].join('\n'),
    examples: [
      'trestle audit verify',
      'trestle audit verify --from ledger.jsonl.gz --checkpoints kept.jsonl --public-key 3f1c…',
    ],
    options: [
      new Option('--from <file>', 'a copy in place of the database'),
      new Option(
        '--checkpoints <file>',
        'JSON lines; by default .trestle/checkpoints.jsonl, and of a copy none',
      ),
      new Option('--public-key <hex>', 'the key that you trust; by default that of the first checkpoint'),
      new Option(
        '--keep-days <days>',
        'days that must be there, whatever the ledger says of retention; by default 30',
      ).argParser(wholeNumber('days', 0, 36_500)),
    ],
    async run(context, _args, options: VerifyOptions) {
      const { verifyAudit } = await import('../audit/verify.ts')
      return verifyAudit(context, options)
    },
  })

  addCommand(audit, {
    usage: 'export <file>',
    summary: 'write a copy of the ledger that can be checked offline',
    details: 'JSON lines; compressed where the name ends in .gz.',
    examples: ['trestle audit export ledger.jsonl.gz'],
    async run(context, [file = '']) {
      const { exportAudit } = await import('../audit/verify.ts')
      return exportAudit(context, file)
    },
  })
}
