import { atWords, countWords, defineDetector } from './detector.ts'
import { RUNS_COUNTED, runsOfFlows, type RunsOfFlow } from './runsOfFlows.ts'

/** Runs that only a person can let go on: an outcome that cannot be known, a quarantined answer, an undo that failed. */
export const heldRuns = defineDetector<RunsOfFlow>({
  kind: 'held_runs',
  facts: (looking) => runsOfFlows('held', looking),
  condition({ flow, count, since, newest, reason }) {
    return {
      subject: flow,
      title: `Runs of ${flow} wait for a person`,
      what: `${countWords(count, 'run', 'runs', RUNS_COUNTED)} of ${flow} ${count === 1 ? 'is' : 'are'} held since ${atWords(since)}: only a person can tell how to go on. The newest, ${newest}: ${reason}`,
      since,
      holdsUp: `${count === 1 ? 'This run stands' : 'These runs stand'} still, and so does what comes behind ${count === 1 ? 'it in its lane' : 'them in their lanes'}.`,
      todo: `Look at it and decide: trestle runs show ${newest}`,
      flow,
    }
  },
  over: 'No run of the flow waits for a person.',
})
