import { writeFile } from 'node:fs/promises'
import { resolve } from 'node:path'
import { Option, type Command } from 'commander'
import { SECOND, systemClock, UsageError } from '../../base/index.ts'
import type { ProofReport } from '../../prove/index.ts'
import { addCommand, type CommandContext } from '../command.ts'
import { EXIT } from '../exitCodes.ts'
import { version } from '../version.ts'

interface ProveOptions {
  readonly seed: string
  readonly flow?: readonly string[]
  readonly drill?: readonly string[]
  readonly events?: string
  readonly out: string
}

/** `trestle prove`: the project's flows on twins, through everything that goes wrong, and a page about it. */
export function addProve(program: Command): void {
  addCommand<ProveOptions>(program, {
    usage: 'prove',
    summary: 'play your flows through outages, crashes and other faults, and write a page about it',
    details:
      'Your flows run on twins of the providers, on this machine, with a database in a temporary folder and a clock of their own: nothing reaches a provider. The page is one file that you can send to whoever decides. Ends with 1 where a promise did not hold, or where it was stopped.',
    examples: [
      'trestle prove',
      'trestle prove --flow payment-received --out payments.html',
      'trestle prove --seed another --drill outage-quickbooks crash',
    ],
    options: [
      new Option('--seed <text>', 'chooses people and faults; the same seed plays the same').default(
        'trestle',
      ),
      new Option('--flow <name...>', 'only these flows'),
      new Option('--drill <id...>', 'only these drills, by their ids on the page'),
      new Option(
        '--events <folder>',
        'your own events: bodies as providers send them, in <connection>/*.json',
      ),
      new Option('--out <file>', 'where the page goes').default('trestle-proof.html'),
    ],
    async run(context, _args, options) {
      if (options.seed === '')
        throw new UsageError('seed_empty', 'The seed is empty. Leave --seed out, or give a word.')
      const { prove, writePage } = await import('../../prove/index.ts')
      const report = await withProgress(context, (told) =>
        loadedConfig(context).then((config) =>
          prove({
            ...told,
            config,
            folder: context.folder,
            seed: options.seed,
            version: version(),
            ...(options.flow && { flows: options.flow }),
            ...(options.drill && { drills: options.drill }),
            ...(options.events !== undefined && { events: resolve(options.events) }),
          }),
        ),
      )
      const file = resolve(options.out)
      await writeFile(file, writePage(report))
      context.output.answer({ ...report, page: file }, () => proofWords(report, options.out))
      return report.ok ? EXIT.ok : EXIT.failed
    },
  })
}

async function loadedConfig({ folder, config }: CommandContext) {
  const { loadConfig } = await import('../../runtime/index.ts')
  return (await loadConfig(folder, config)).config
}

/** Signals so soon after one another are one press of a key. */
const SAME_SIGNAL_MS = SECOND

/** Shows how far it has come. The first Ctrl-C ends it in order, with nothing left behind; the second at once. */
async function withProgress<Result>(
  { output }: CommandContext,
  work: (told: {
    readonly signal: AbortSignal
    readonly onDrill: (title: string, done: number, total: number) => void
  }) => Promise<Result>,
): Promise<Result> {
  const stop = new AbortController()
  let stoppedAt = 0
  const onSignal = (): void => {
    const now = systemClock.monotonic()
    // Through npx one Ctrl-C comes twice: from the terminal, and passed on by npm.
    if (stop.signal.aborted && now - stoppedAt < SAME_SIGNAL_MS) return
    if (stop.signal.aborted) process.exit(130)
    stoppedAt = now
    stop.abort()
    output.notice('\nStopping. Ctrl-C again stops at once.')
  }
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const
  for (const signal of signals) process.on(signal, onSignal)
  let last = ''
  try {
    return await work({
      signal: stop.signal,
      onDrill(title, done, total) {
        if (title === last) return
        last = title
        output.notice(total > 1 ? `${String(done).padStart(3)} of ${total}  ${title}` : `          ${title}`)
      },
    })
  } finally {
    for (const signal of signals) process.off(signal, onSignal)
  }
}

function proofWords(report: ProofReport, file: string): string {
  const { ok, broken, drills, unexercised, notShown } = report
  return [
    ok
      ? `YES: every promise held in ${drills.length} drills.`
      : `NO: ${broken.length} ${broken.length === 1 ? 'promise' : 'promises'} did not hold.`,
    ...broken.map((reason) => `- ${reason}`),
    ...unexercised.map(({ flow, why }) => `Not exercised: ${flow}. ${why}`),
    ...notShown.map((one) => `Not shown: ${one}`),
    `The page: ${file}`,
  ].join('\n')
}
