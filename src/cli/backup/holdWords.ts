import colors from 'picocolors'
import type { Clock } from '../../base/index.ts'
import { facts, table } from '../output.ts'
import { timeWords } from '../times.ts'
import { stateWords } from '../words.ts'

/** What `GET /hold` answers. */
export interface HoldAnswer {
  readonly inHold: boolean
  readonly hold: {
    readonly kind: string
    readonly reason: string
    readonly beganAt: string
    readonly beganBy: string
    readonly lostFrom: string | null
    readonly lostTo: string | null
    readonly detail: {
      readonly ledger?: { readonly lostBlocks?: unknown; readonly lostEntriesAtLeast?: unknown }
    }
  } | null
  readonly counts: readonly {
    readonly flow: string
    readonly state: string
    readonly runs: unknown
    readonly withOpenAttempt: unknown
    readonly oldest: string
  }[]
  readonly runs: readonly {
    readonly id: string
    readonly flow: string
    readonly state: string
    readonly lastStep: string | null
  }[]
  readonly untouched: unknown
  readonly receivedSince: unknown
  readonly unknownSince: readonly {
    readonly connection: string
    readonly connector: string
    readonly lastEvent: { readonly type: string; readonly receivedAt: string } | null
    readonly grant: boolean
  }[]
}

const SHOWN = 20

/** The hold for people: why, what is in doubt, what cannot be known, and what to do. */
export function holdWords(answer: HoldAnswer, clock: Clock): string {
  const { hold } = answer
  if (!hold) return 'The platform is not in hold.'
  const head = facts([
    ['In hold since', `${timeWords(hold.beganAt, clock)}, by ${hold.beganBy}`],
    ['Because', hold.reason],
    ['Came in since', `${String(answer.receivedSince)} events, which wait`],
  ])
  const parts = [head]
  if (hold.lostFrom !== null && hold.lostTo !== null)
    parts.push(lostWords(answer, hold.lostFrom, hold.lostTo, clock))
  parts.push(`Nothing is claimed and nothing leaves. It goes on with: ${colors.bold('trestle hold release')}`)
  return parts.join('\n\n')
}

function lostWords(answer: HoldAnswer, lostFrom: string, lostTo: string, clock: Clock): string {
  const { lostBlocks, lostEntriesAtLeast } = answer.hold?.detail.ledger ?? {}
  const known =
    lostBlocks === undefined || Number(lostBlocks) === 0
      ? ''
      : ` Checkpoints outside it tell of ${Number(lostBlocks)} blocks with ${Number(lostEntriesAtLeast)} entries or more.`
  return [
    `The database knows nothing of what was done from ${timeWords(lostFrom, clock)} to ${timeWords(lostTo, clock)}.${known}`,
    '',
    colors.bold('In doubt: runs that were in flight.'),
    'Each of their calls may have been made already. It is sent with the same key, or asked about, or a person is asked.',
    table(
      ['FLOW', 'STATE', 'RUNS', 'WITH AN OPEN ATTEMPT', 'OLDEST'],
      answer.counts.map((one) => [
        one.flow,
        stateWords(one.state),
        String(one.runs),
        String(one.withOpenAttempt),
        timeWords(one.oldest, clock),
      ]),
      'None.',
    ),
    ...(answer.runs.length === 0 ? [] : ['', runsWords(answer)]),
    ...(Number(answer.untouched) === 0
      ? []
      : ['', `${String(answer.untouched)} more slept beyond that time, and nothing of them is in doubt.`]),
    '',
    colors.bold('Not known: what came in then.'),
    'Let each provider send again what came after, where it can. Polls read it again by themselves. An event of that time',
    'that comes again repeats nothing: its runs have the keys that they had, and ask where they can.',
    table(
      ['CONNECTION', 'CONNECTOR', 'NEWEST EVENT THAT IS KNOWN', ''],
      answer.unknownSince.map((one) => [
        one.connection,
        one.connector,
        one.lastEvent ? `${one.lastEvent.type}, ${timeWords(one.lastEvent.receivedAt, clock)}` : '-',
        one.grant ? 'may have to be authorized anew' : '',
      ]),
      'There are no connections.',
    ),
    '',
    'Nor is it known what people did then: retries, replays, releases, cancellations, new tokens.',
  ].join('\n')
}

function runsWords({ runs }: HoldAnswer): string {
  const shown = table(
    ['RUN', 'FLOW', 'STATE', 'NEWEST STEP THAT IS KNOWN'],
    runs.slice(0, SHOWN).map((run) => [run.id, run.flow, stateWords(run.state), run.lastStep ?? '-']),
    '',
  )
  return runs.length > SHOWN ? `${shown}\n… and more: --json names 50, "trestle runs" all.` : shown
}
