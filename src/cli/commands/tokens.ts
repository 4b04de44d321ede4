import { Option, type Command } from 'commander'
import { addCommand, addGroup } from '../command.ts'
import { table } from '../output.ts'
import { timeWords } from '../times.ts'

/** `trestle tokens`: who may speak to the HTTP API. */
export function addTokens(program: Command): void {
  const tokens = addGroup(program, 'tokens', 'tokens of the HTTP API')

  addCommand(tokens, {
    usage: 'create <name>',
    summary: 'make a token; it is shown once',
    details: 'Only its hash is kept. With --quiet the token alone is printed, for scripts.',
    examples: ['trestle tokens create "shop backend"', 'TOKEN=$(trestle tokens create ci --quiet)'],
    options: [new Option('-q, --quiet', 'print nothing but the token')],
    run: ({ output, actor, withSession }, [name = ''], { quiet }: { quiet?: boolean }) =>
      withSession(async ({ installation, tenant }) => {
        const made = await installation.vault.tokens.create({ tenant, name, actor })
        output.answer({ id: made.id, name: made.name, token: made.token }, () =>
          quiet === true
            ? made.token
            : `${made.token}\n\nThis is the token "${made.name}" (${made.id}). It is shown only now; keep it in a secret store.\nSend it as: Authorization: Bearer ${made.token.slice(0, 8)}…`,
        )
      }),
  })

  addCommand(tokens, {
    usage: 'list',
    summary: 'the tokens that there are',
    isDefault: true,
    examples: ['trestle tokens list', 'trestle tokens --json'],
    run: ({ output, clock, withSession }) =>
      withSession(async ({ installation, tenant }) => {
        const all = await installation.vault.tokens.list(tenant)
        output.answer({ tokens: all }, () =>
          table(
            ['ID', 'NAME', 'MADE', 'LAST USED', 'STATE'],
            all.map((token) => [
              token.id,
              token.name,
              timeWords(token.createdAt, clock),
              token.lastUsedAt ? timeWords(token.lastUsedAt, clock) : 'never',
              token.revokedAt ? `revoked ${timeWords(token.revokedAt, clock)}` : 'in force',
            ]),
            'There is no token. Make one with: trestle tokens create NAME',
          ),
        )
      }),
  })

  addCommand(tokens, {
    usage: 'revoke <id>',
    summary: 'end a token; it is refused everywhere within 10 s',
    examples: ['trestle tokens revoke tok_01jd…'],
    run: ({ output, actor, withSession }, [id = '']) =>
      withSession(async ({ installation, tenant }) => {
        await installation.vault.tokens.revoke(tenant, id, actor)
        output.answer({ id, revoked: true }, () => `The token ${id} is revoked.`)
      }),
  })
}
