import { Option, type Command } from 'commander'
import { durationMs, UsageError } from '../../base/index.ts'
import { addCommand } from '../command.ts'
import { collect } from '../parse.ts'
import { terminal } from '../secrets/prompt.ts'
import { readSecret, wantedSecrets } from '../secrets/sources.ts'
import { timeWords } from '../times.ts'
import { withApi } from '../withApi.ts'

interface RotateOptions {
  readonly secret?: readonly string[]
  readonly secretFile?: readonly string[]
  readonly overlap: string
  readonly expires?: string
  readonly untested?: boolean
}

interface EndsOptions {
  readonly secret: string
  readonly on: string
}

interface RotatedView {
  readonly fields: readonly string[]
  readonly formerUntil: string
  readonly tested: boolean
}

/** `trestle connections rotate` and `ends`: new secrets in the place of others, and when they end. */
export function addRotation(connections: Command): void {
  rotateCommand(connections)
  endsCommand(connections)
}

function rotateCommand(connections: Command): void {
  addCommand(connections, {
    usage: 'rotate <name>',
    summary: 'put a new API key or webhook secret in place, while the former one counts for a while longer',
    details: [
      "A new key is tried by the connector's check first: one that is refused changes nothing. Calls use the new one, and",
      'once more the former one where the new one is refused. Webhooks are verified with both until the overlap ends.',
      "An OAuth client's secret is tried by nothing before: the token endpoint is asked with the former one where it refuses",
      'the new one.',
    ].join('\n'),
    examples: [
      'trestle connections rotate calcom --secret apiKey=prompt',
      'trestle connections rotate stripe --secret webhookSecret=stdin --overlap 2d',
      'trestle connections rotate easypost --secret-file apiKey=./key --expires 2027-03-01',
    ],
    options: [
      new Option(
        '--secret <field[=source]>',
        'where the new one comes from: prompt, stdin or env:VARIABLE; several times; "webhookSecret" verifies webhooks',
      ).argParser(collect),
      new Option('--secret-file <field=path>', 'a file that holds the new one; several times').argParser(
        collect,
      ),
      new Option('--overlap <duration>', 'how long the former one counts, 30 days at most').default('24h'),
      new Option('--expires <date>', 'when the new one ends, such as 2027-03-01: somebody is told before'),
      new Option('--untested', 'let the new one take over without trying it'),
    ],
    run: (context, [name = ''], options: RotateOptions) => {
      const wanted = wantedSecrets(options.secret, options.secretFile)
      if (wanted.length === 0)
        throw new UsageError(
          'secret_missing',
          'Say which secret is rotated, for example: --secret apiKey=prompt',
        )
      const overlapMs = durationMs(options.overlap)
      const endsAt = options.expires === undefined ? {} : { endsAt: endOf(options.expires) }
      return withApi(context, async (api) => {
        const secrets: Record<string, string> = {}
        for (const one of wanted)
          secrets[one.field] = await readSecret(one, {
            terminal,
            environment: process.env,
            question: `${name}, new ${one.field}`,
          })
        const untested = options.untested === true
        const answer = await api.post('/connections/{name}/rotate', {
          params: { name },
          body: { secrets, overlapMs, untested, ...endsAt },
        })
        const done = answer.value as RotatedView
        context.output.answerJson(answer.json, () =>
          [
            `${done.fields.join(', ')} of "${name}" ${done.fields.length === 1 ? 'is' : 'are'} rotated${done.tested ? '; the provider takes the new one' : ''}.`,
            `The former one counts until ${timeWords(done.formerUntil, context.clock)}. End it at the provider after that, not before.`,
          ].join('\n'),
        )
      })
    },
  })
}

function endsCommand(connections: Command): void {
  addCommand(connections, {
    usage: 'ends <name>',
    summary: 'say when a secret ends, so that somebody is told before',
    examples: [
      'trestle connections ends calcom --secret apiKey --on 2027-03-01',
      'trestle connections ends calcom --secret apiKey --on unknown',
    ],
    options: [
      new Option('--secret <field>', 'which of its secrets, such as apiKey').makeOptionMandatory(),
      new Option('--on <date>', 'such as 2027-03-01; "unknown" takes it back').makeOptionMandatory(),
    ],
    run: (context, [name = ''], { secret: field, on: date }: EndsOptions) =>
      withApi(context, async (api) => {
        const endsAt = date === 'unknown' ? null : endOf(date)
        const answer = await api.post('/connections/{name}/ends', {
          params: { name },
          body: { field, endsAt },
        })
        context.output.answerJson(answer.json, () =>
          endsAt === null
            ? `When ${field} of "${name}" ends is not known.`
            : `${field} of "${name}" ends ${timeWords(endsAt, context.clock)}. An incident says so 30 days before.`,
        )
      }),
  })
}

/** A day or a moment, as ISO 8601. A day counts as it begins, in UTC. */
function endOf(text: string): string {
  const ms = /^\d{4}-\d{2}-\d{2}/.test(text) ? Date.parse(text) : Number.NaN
  if (!Number.isNaN(ms)) return new Date(ms).toISOString()
  throw new UsageError(
    'date_invalid',
    `"${text}" is no date. Write it as 2027-03-01, or as 2027-03-01T12:00:00Z.`,
  )
}
