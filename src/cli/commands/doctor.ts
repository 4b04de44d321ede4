import type { Command } from 'commander'
import { addCommand } from '../command.ts'
import { EXIT } from '../exitCodes.ts'

/** `trestle doctor`: what is wrong with this installation, and what to do about it. */
export function addDoctor(program: Command): void {
  addCommand(program, {
    usage: 'doctor',
    summary: 'look for what is wrong with this installation, and say what to do',
    details: 'Changes nothing. Ends with 1 where something must be mended before it can serve.',
    examples: ['trestle doctor', 'trestle doctor --json'],
    async run(context) {
      const { lookAtInstallation } = await import('../doctor/look.ts')
      const { findingsWords } = await import('../doctor/findings.ts')
      const findings = await lookAtInstallation(context)
      const failed = findings.some((finding) => finding.level === 'fail')
      context.output.answer({ ok: !failed, findings }, () => findingsWords(findings))
      return failed ? EXIT.failed : EXIT.ok
    },
  })
}
