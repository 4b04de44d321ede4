import { Option, type Command } from 'commander'
import { durationMs, UsageError } from '../../base/index.ts'
import { addCommand, addGroup, type CommandContext } from '../command.ts'
import { table } from '../output.ts'
import { collect, tokenId } from '../parse.ts'
import { timeWords } from '../times.ts'
import type { CreatedTokenView, ListedTokenView, RotatedTokenView } from '../views.ts'
import { withApi } from '../withApi.ts'

interface ForTenant {
  readonly tenant?: string
}
interface CreateOptions extends ForTenant {
  readonly name?: string
  readonly role?: string
  readonly scope?: readonly string[]
  readonly expires?: string
  readonly quiet?: boolean
}
interface RotateOptions extends ForTenant {
  readonly overlap?: string
  readonly expires?: string
  readonly quiet?: boolean
}

const ROLES = 'viewer, operator, developer or admin'
const tenantOption = (): Option => new Option('--tenant <tenant>', 'whose token; by default "default"')
const quietOption = (): Option => new Option('-q, --quiet', 'print nothing but the token')
const expiresOption = (otherwise: string): Option =>
  new Option('--expires <duration>', `how long it is good, such as 30d; by default ${otherwise}`)

/** `trestle tokens`: who may speak to the HTTP API, and what they may do there. */
export function addTokens(program: Command): void {
  const tokens = addGroup(program, 'tokens', 'tokens of the HTTP API')
  addCreate(tokens)
  addList(tokens)
  addRotate(tokens)
  addRevoke(tokens)
}

function addCreate(tokens: Command): void {
  addCommand<CreateOptions>(tokens, {
    usage: 'create [name]',
    summary: 'make a token; it is shown once',
    details:
      'Only its hash is kept. Give it no more than it needs: scopes narrow its role, and without a role it has the least that the scopes need; without either it is a viewer. docs/guides/access.md has them all. With --quiet the token alone is printed, for scripts.',
    examples: [
      'trestle tokens create "shop backend" --scope events:emit',
      'trestle tokens create --name ci --role operator --scope runs:retry --scope runs:read --expires 30d',
      'TOKEN=$(trestle tokens create monitoring --role viewer --quiet)',
    ],
    options: [
      new Option('--name <name>', 'what it is for, instead of the argument'),
      new Option('--role <role>', `one of ${ROLES}`),
      new Option('--scope <scope>', 'what it may, such as runs:retry; may be given several times').argParser(
        collect,
      ),
      expiresOption('it does not end'),
      tenantOption(),
      quietOption(),
    ],
    async run(context, [given], { name = given, role, scope, expires, quiet, tenant }) {
      const rights = await readRights(role, scope)
      const body = withoutUndefined({ name: requireName(name), ...rights, expiresIn: checked(expires) })
      await withApi(
        context,
        async (api) => {
          const answer = await api.post('/tokens', { body })
          const made = answer.value as CreatedTokenView
          context.output.answerJson(answer.json, () =>
            quiet === true ? made.token : createdWords(made, context),
          )
        },
        tenant,
      )
    },
  })
}

function addList(tokens: Command): void {
  addCommand<ForTenant>(tokens, {
    usage: 'list',
    summary: 'the tokens that there are',
    isDefault: true,
    examples: ['trestle tokens list', 'trestle tokens --json'],
    options: [tenantOption()],
    run: (context, _args, { tenant }) =>
      withApi(
        context,
        async (api) => {
          const answer = await api.get('/tokens')
          const { items } = answer.value as { readonly items: readonly ListedTokenView[] }
          context.output.answerJson(answer.json, () => listWords(items, context))
        },
        tenant,
      ),
  })
}

function addRotate(tokens: Command): void {
  addCommand<RotateOptions>(tokens, {
    usage: 'rotate <id>',
    summary: 'a new token of the same name and rights; the old one is good for a while yet',
    details:
      'Put the new one in place of the old one within the overlap, and look at "trestle tokens list" whether anybody used the old one since. It can be revoked earlier.',
    examples: [
      'trestle tokens rotate tok_01jd…',
      'trestle tokens rotate tok_01jd… --overlap 1h --expires 90d',
    ],
    options: [
      new Option(
        '--overlap <duration>',
        'how long the old one stays good, 30d at most; 0s: it ends at once',
      ).default('24h'),
      expiresOption('as long as the old one was made for'),
      tenantOption(),
      quietOption(),
    ],
    run: (context, [id = ''], { overlap, expires, quiet, tenant }) =>
      withApi(
        context,
        async (api) => {
          const body = withoutUndefined({ overlap: checked(overlap), expiresIn: checked(expires) })
          const answer = await api.post('/tokens/{id}/rotate', { params: { id: tokenId(id) }, body })
          const { made, old } = answer.value as RotatedTokenView
          context.output.answerJson(answer.json, () =>
            quiet === true
              ? made.token
              : `${createdWords(made, context)}\nThe old one, ${old.id}, ends ${timeWords(old.expiresAt, context.clock)}.`,
          )
        },
        tenant,
      ),
  })
}

function addRevoke(tokens: Command): void {
  addCommand<ForTenant>(tokens, {
    usage: 'revoke <id>',
    summary: 'end a token; it is refused everywhere within 10 s',
    examples: ['trestle tokens revoke tok_01jd…'],
    options: [tenantOption()],
    run: (context, [id = ''], { tenant }) =>
      withApi(
        context,
        async (api) => {
          const answer = await api.post('/tokens/{id}/revoke', { params: { id: tokenId(id) } })
          context.output.answerJson(answer.json, () => `The token ${id} is revoked.`)
        },
        tenant,
      ),
  })
}

/** What the API would refuse, in words for the command line. */
async function readRights(role: string | undefined, scopes: readonly string[] | undefined): Promise<object> {
  const { TOKEN_ROLES, SCOPE_NAMES } = await import('../../vault/index.ts')
  const unknown =
    [role].find((one) => one !== undefined && !TOKEN_ROLES.some((known) => known === one)) ??
    scopes?.find((one) => !SCOPE_NAMES.some((known) => known === one))
  if (unknown === undefined) return { role, scopes }
  throw new UsageError(
    'token_rights_invalid',
    unknown === role
      ? `There is no role "${unknown}". There are: ${TOKEN_ROLES.join(', ')}.`
      : `There is no scope "${unknown}". There are: ${SCOPE_NAMES.join(', ')}.`,
  )
}

/** A duration as it was written; throws where it is none. */
function checked(duration: string | undefined): string | undefined {
  if (duration !== undefined) durationMs(duration)
  return duration
}

function requireName(name: string | undefined): string {
  if (name !== undefined && name.trim() !== '' && name.length <= 100) return name
  throw new UsageError(
    'token_name_invalid',
    'Say what the token is for: trestle tokens create "shop backend" --scope events:emit',
  )
}

function withoutUndefined(members: object): object {
  return Object.fromEntries(Object.entries(members).filter(([, value]) => value !== undefined))
}

function createdWords(made: CreatedTokenView, { clock }: CommandContext): string {
  const end =
    made.expiresAt === null ? 'It does not expire.' : `It expires ${timeWords(made.expiresAt, clock)}.`
  return [
    `${made.token}\n`,
    `This is the token "${made.name}" (${made.id}). It is shown only now; keep it in a secret store.`,
    `It is ${rightsWords(made)}. ${end}`,
    `Send it as: Authorization: Bearer ${made.token.slice(0, 8)}…`,
  ].join('\n')
}

function listWords(items: readonly ListedTokenView[], { clock }: CommandContext): string {
  return table(
    ['ID', 'NAME', 'TOKEN', 'MAY', 'LAST USED', 'EXPIRES', 'STATE'],
    items.map((token) => [
      token.id,
      token.name,
      token.start === null ? '' : `${token.start}…`,
      rightsWords(token),
      token.lastUsedAt ? timeWords(token.lastUsedAt, clock) : 'never',
      token.expiresAt ? timeWords(token.expiresAt, clock) : 'never',
      stateWords(token, clock),
    ]),
    'There is no token. Make one with: trestle tokens create NAME --role viewer',
  )
}

function stateWords(token: ListedTokenView, clock: CommandContext['clock']): string {
  const by = token.replacedBy === null ? '' : `, rotated: ${token.replacedBy}`
  if (token.revokedAt !== null) return `revoked ${timeWords(token.revokedAt, clock)}${by}`
  return `${token.state === 'expired' ? 'expired' : 'in force'}${by}`
}

function rightsWords({ role, scopes, narrowed }: CreatedTokenView | ListedTokenView): string {
  return narrowed ? `${role}: ${scopes.join(' ')}` : role
}
