import { Option, type Command } from 'commander'
import { addCommand } from '../../command.ts'
import { collect, pairs, runId, wholeNumber } from '../../parse.ts'
import { withApi } from '../../withApi.ts'

interface MigrateOptions {
  readonly to?: number
  readonly rename?: readonly string[]
  readonly forget?: readonly string[]
  readonly forgetEffects?: boolean
}

/** `trestle runs migrate`: a run goes on with another version of its flow. */
export function migrateRunCommand(runs: Command): void {
  addCommand(runs, {
    usage: 'migrate <id>',
    summary: 'let a run go on with another version of its flow, its journal changed as asked',
    details: [
      'The journal is compared with the code of that version first. Where it does not fit, nothing is changed and the',
      'difference is named. Steps are written NAME, or NAME#2 for the second of that name; "trestle runs show" lists them.',
    ].join('\n'),
    examples: [
      'trestle runs migrate run_01jd…',
      'trestle runs migrate run_01jd… --rename hubspot.contacts.upsert=contact --forget quickbooks.invoices.create',
    ],
    options: [
      new Option('--to <version>', 'the version to go on with; default: the newest').argParser(
        wholeNumber('to', 1, 2_147_483_647),
      ),
      new Option(
        '--rename <old=new>',
        'a step that has another name now; may be given several times',
      ).argParser(collect),
      new Option(
        '--forget <step>',
        'a step whose result is forgotten: done again where it is asked for; may be given several times',
      ).argParser(collect),
      new Option('--forget-effects', 'consent to forgetting calls that had an effect, which stays'),
    ],
    run: (context, [id = ''], { to, rename, forget, forgetEffects }: MigrateOptions) =>
      withApi(context, async (api) => {
        const run = runId(id)
        const body = {
          ...(to === undefined ? {} : { to }),
          ...(rename ? { rename: pairs(rename, '--rename') } : {}),
          ...(forget ? { forget } : {}),
          ...(forgetEffects ? { forgetEffects } : {}),
        }
        const answer = await api.post('/runs/{id}/migrate', { params: { id: run }, body })
        context.output.answerJson(answer.json, () => `${run} goes on. See: trestle runs show ${run}`)
      }),
  })
}
