import { atWords, countWords, defineDetector } from './detector.ts'
import { RUNS_COUNTED, runsOfFlows, type RunsOfFlow } from './runsOfFlows.ts'

/** Runs of a flow gave up. One incident for each flow, until all were retried, replayed or cancelled. */
export const deadLetters = defineDetector<RunsOfFlow>({
  kind: 'dead_letters',
  facts: (looking) => runsOfFlows('dead_lettered', looking),
  condition({ flow, count, since, newest, reason }) {
    return {
      subject: flow,
      title: `Runs of ${flow} gave up`,
      what: `${countWords(count, 'run', 'runs', RUNS_COUNTED)} of ${flow} gave up and ${count === 1 ? 'is a dead letter' : 'are dead letters'} since ${atWords(since)}. The newest, ${newest}: ${reason}`,
      since,
      holdsUp: `What ${count === 1 ? 'this run was' : 'these runs were'} to do is not done, and will not be by itself.`,
      todo: `Mend the cause, then let them go on: trestle dead-letters, and trestle runs retry ${newest}`,
      flow,
    }
  },
  over: 'No dead letter of the flow is left.',
})
