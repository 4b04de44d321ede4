import { expect, it } from 'vitest'
import { EVENT_MOVES, RUN_ENDED, RUN_MOVES } from '../../src/define/index.ts'

const MEANINGS: Readonly<Record<keyof typeof RUN_MOVES, string>> = {
  queued: 'ready; a wake-up is on its way',
  running: 'a node executes it',
  waiting: 'a row with a due time or an awaited event; nothing in memory',
  parked: 'waits for something outside it: a new authorization, a missing flow',
  held: 'waits for a person: an outcome that cannot be known, a quarantined answer, an undo that failed',
  undoing: 'its compensations run, in reverse order',
  succeeded: 'the flow returned',
  undone: 'it gave up, and what it made was undone',
  dead_lettered: 'it gave up, and there was nothing to undo; a person may retry it',
  cancelled: 'a person ended it; what it made was undone',
}

function table(
  moves: Readonly<Record<string, readonly string[]>>,
  meaning: (state: string) => string,
): string {
  const rows = Object.entries(moves).map(
    ([state, to]) => `| ${state} | ${meaning(state)} | ${to.length === 0 ? '–' : to.join(', ')} |`,
  )
  return ['| state | meaning | may become |', '| --- | --- | --- |', ...rows].join('\n')
}

/** The generated document. `npx vitest run tests/docs/states.test.ts -u` writes it anew. */
function document(): string {
  const edges = Object.entries(RUN_MOVES).flatMap(([from, tos]) =>
    tos.filter((to) => to !== from).map((to) => `  ${from} --> ${to}`),
  )
  const ends = [...RUN_ENDED].map((state) => `  ${state} --> [*]`)
  return [
    '# States',
    'Generated from `src/define/states.ts`; a test keeps it current.',
    '## Runs',
    table(RUN_MOVES, (state) => MEANINGS[state as keyof typeof RUN_MOVES]),
    ['```mermaid', 'stateDiagram-v2', '  [*] --> queued', ...edges, ...ends, '```'].join('\n'),
    '## Events',
    table(
      EVENT_MOVES,
      (state) =>
        ({
          dispatched: 'a flow started on it',
          unmatched: 'no flow starts on it; kept, replayable',
          quarantined: 'its shape cannot be trusted; a person releases or discards it',
          discarded: 'a person discarded it',
        })[state] ?? '',
    ),
    '',
  ].join('\n\n')
}

it('docs/states.md is what the tables say', async () => {
  await expect(document()).toMatchFileSnapshot('../../docs/states.md')
})
