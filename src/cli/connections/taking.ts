import type { Command } from 'commander'
import type { Revocation } from '../../vault/index.ts'
import { addCommand } from '../command.ts'
import { EXIT, type ExitCode } from '../exitCodes.ts'
import { withApi } from '../withApi.ts'

/** `trestle connections revoke` and `remove`: the provider is told that it is over. */
export function addTaking(connections: Command): void {
  addCommand(connections, {
    usage: 'revoke <name>',
    summary: 'take its grant back at the provider; the connection stays',
    details:
      'Its runs wait from then on until somebody authorizes it again. Ends with 1 where the provider did not take it back.',
    examples: ['trestle connections revoke hubspot'],
    run: (context, [name = '']) =>
      withApi(context, async (api) => {
        const answer = await api.post('/connections/{name}/revoke', { params: { name } })
        const { outcome, code, reason } = answer.value as {
          readonly outcome: Revocation['as']
          readonly code: string | null
          readonly reason: string | null
        }
        context.output.answerJson(answer.json, () => wordsOf(outcome, `${reason ?? ''} (${code ?? ''})`))
        return exitOf(outcome)
      }),
  })
  addCommand(connections, {
    usage: 'remove <name>',
    summary: 'delete its secrets and its endpoint, and take its grant back; what refers to it stays',
    details:
      'A grant of OAuth is taken back at the provider first, where its connector names an endpoint for it. Where that fails, the connection is removed all the same, the failure is on record, and the command ends with 1.',
    examples: ['trestle connections remove stripe-eu'],
    run: ({ output, actor, withSession }, [name = '']) =>
      withSession(async ({ installation, tenant }) => {
        const revocation = await installation.vault.removeConnection(tenant, name, actor)
        const why = revocation.as === 'failed' ? `${revocation.reason} (${revocation.code})` : ''
        output.answer({ name, removed: true, grant: revocation }, () =>
          [
            `The connection "${name}" is removed and its secrets are deleted.`,
            ...(revocation.as === 'nothing' ? [] : [wordsOf(revocation.as, why)]),
          ].join('\n'),
        )
        return exitOf(revocation.as)
      }),
  })
}

function wordsOf(outcome: Revocation['as'], why: string): string {
  switch (outcome) {
    case 'revoked':
      return 'Its grant was taken back at the provider.'
    case 'failed':
      return `But its grant is as good as before at the provider: ${why} Take it back there yourself.`
    case 'unsupported':
      return 'Its connector names no endpoint to take the grant back: take it back at the provider yourself.'
    default:
      return 'It has no grant, so there was nothing to take back.'
  }
}

function exitOf(outcome: Revocation['as']): ExitCode {
  return outcome === 'failed' ? EXIT.failed : EXIT.ok
}
