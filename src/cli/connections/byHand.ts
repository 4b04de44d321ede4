import { Option, type Command } from 'commander'
import { addCommand } from '../command.ts'
import { withApi } from '../withApi.ts'

interface Options {
  readonly group?: string
  readonly reason?: string
}

const OPTIONS = (): Option[] => [
  new Option('--group <group>', 'only one group of its operations, such as invoices for invoices.create'),
  new Option('--reason <words>', 'why, for the record and the ledger'),
]

/** `trestle connections isolate` and `release`: a person holds a connection back, and lets it go again. */
export function addByHand(connections: Command): void {
  addCommand(connections, {
    usage: 'isolate <name>',
    summary: 'hold back all calls over it, on every node, until it is released',
    details:
      'Runs that need it park and lose nothing; what they wait for stands in trestle outages. What is under way ends.',
    examples: [
      'trestle connections isolate quickbooks --reason "books are closed until Monday"',
      'trestle connections isolate hubspot --group notes',
    ],
    options: OPTIONS(),
    run: (context, [name = ''], { group, reason }: Options) =>
      withApi(context, async (api) => {
        const answer = await api.post('/connections/{name}/isolate', {
          params: { name },
          body: bodyOf(group, reason),
        })
        const same = `${name}${group === undefined ? '' : ` --group ${group}`}`
        context.output.answerJson(
          answer.json,
          () =>
            `${whatOf(name, group)} is held back on every node. Let it go with: trestle connections release ${same}`,
        )
      }),
  })
  addCommand(connections, {
    usage: 'release <name>',
    summary: 'let go what was held back by hand: first one run, then more',
    examples: ['trestle connections release quickbooks', 'trestle connections release hubspot --group notes'],
    options: OPTIONS(),
    run: (context, [name = ''], { group, reason }: Options) =>
      withApi(context, async (api) => {
        const answer = await api.post('/connections/{name}/release', {
          params: { name },
          body: bodyOf(group, reason),
        })
        context.output.answerJson(
          answer.json,
          () =>
            `${whatOf(name, group)} is released. Who waited goes on, the oldest first, at the pace of its limits: see trestle outages.`,
        )
      }),
  })
}

function bodyOf(group: string | undefined, reason: string | undefined): Record<string, string> {
  return { ...(group === undefined ? {} : { group }), ...(reason === undefined ? {} : { reason }) }
}

function whatOf(name: string, group: string | undefined): string {
  return group === undefined ? `The connection "${name}"` : `"${group}" of the connection "${name}"`
}
