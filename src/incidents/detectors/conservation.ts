import { brokenBalances, type Balance } from '../../conservation/index.ts'
import { countWords, defineDetector, FACTS_LIMIT } from './detector.ts'

/** Counts of a connection, a flow and a day that do not balance: a row vanished, or came from nowhere. */
export const conservation = defineDetector<Balance>({
  kind: 'conservation',
  facts: ({ client, tenant }) => brokenBalances(client, tenant, FACTS_LIMIT),
  condition(balance) {
    const { day, flow, connection, expected, counted, missing, checkedAt } = balance
    const what = flow === null ? 'event' : 'run'
    const of = flow === null ? `of ${connection}` : `of ${flow} for events of ${connection}`
    const gap = expected - counted
    return {
      subject: `${day} ${balance.connectionId} ${flow ?? ''}`,
      title: `The ${what}s ${of} on ${day} do not balance`,
      what:
        gap === 0
          ? `Of the ${what}s ${of} on ${day} some are in a state that there is not.`
          : gap > 0
            ? `${countWords(gap, what)} ${of} on ${day} ${gap === 1 ? 'is' : 'are'} missing: the ledger has ${expected}, the tables have ${counted}.${missing.length > 0 ? ` Missing: ${missing.join(', ')}.` : ''}`
            : `There ${gap === -1 ? 'is' : 'are'} ${countWords(-gap, what)} ${of} on ${day} that no ledger entry speaks of: the ledger has ${expected}, the tables have ${counted}.`,
      since: checkedAt,
      holdsUp: 'Nothing stands still, but what is missing is not done and nobody would know.',
      todo: 'Find out who changed the tables: trestle doctor, trestle audit verify, and the ledger of that day. What is missing can be had again from its delivery, or from the provider.',
      connectionId: balance.connectionId,
      ...(flow === null ? {} : { flow }),
    }
  },
  over: 'The counts balance again.',
})
