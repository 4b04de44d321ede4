import { defineFlow, type AnyFlow } from '../../src/define/index.ts'
import { acme, type Kind } from './connector.ts'

/** Soon again: what is tested is that a step is repeated, not when. */
const retry = { first: '200 ms', cap: '2 s' } as const

/** One flow for each way in which a run can be caught half done. */
export const FLOWS: readonly AnyFlow[] = [
  defineFlow({
    name: 'one',
    on: acme.on('one'),
    retry,
    run: ({ event, use }) => use(acme).charges.create({ ref: `${event.data.ref}/1` }),
  }),
  defineFlow({
    name: 'two',
    on: acme.on('two'),
    retry,
    async run({ event, use }) {
      await use(acme).charges.create({ ref: `${event.data.ref}/1` })
      await use(acme).notes.create({ ref: `${event.data.ref}/2` })
    },
  }),
  defineFlow({
    name: 'none',
    on: acme.on('none'),
    retry,
    run: ({ event, use }) => use(acme).texts.send({ ref: `${event.data.ref}/1` }),
  }),
  defineFlow({
    name: 'fan',
    on: acme.on('fan'),
    retry,
    async run({ event, use }) {
      const { charges, notes } = use(acme)
      const { ref } = event.data
      await Promise.all([
        charges.create({ ref: `${ref}/1` }),
        notes.create({ ref: `${ref}/2` }),
        charges.create({ ref: `${ref}/3` }),
      ])
      await charges.create({ ref: `${ref}/4` })
    },
  }),
  defineFlow({
    name: 'nap',
    on: acme.on('nap'),
    retry,
    async run({ event, use, sleep }) {
      await use(acme).charges.create({ ref: `${event.data.ref}/1` })
      await sleep('400 ms') // Longer than an execution stays for a wait: the run is suspended.
      await use(acme).charges.create({ ref: `${event.data.ref}/2` })
    },
  }),
  defineFlow({
    name: 'wait',
    on: acme.on('wait'),
    retry,
    async run({ event, use, waitFor }) {
      await use(acme).charges.create({ ref: `${event.data.ref}/1` })
      const { customer } = event.data
      const answer = await waitFor(acme.on('answer'), {
        on: 'data.customer',
        equals: customer,
        timeout: '1 day',
      })
      await use(acme).charges.create({ ref: `${answer?.data.ref ?? 'nobody'}/1` })
    },
  }),
  defineFlow({
    name: 'lane',
    on: acme.on('lane'),
    key: (event) => event.data.customer,
    retry,
    async run({ event, use }) {
      await use(acme).charges.create({ ref: `${event.data.ref}/1` })
      await use(acme).charges.create({ ref: `${event.data.ref}/2` })
    },
  }),
]

/** How many effects a delivery has; they are numbered from 1 behind its ref. */
const EFFECTS: Readonly<Record<Kind, number>> = {
  one: 1,
  two: 2,
  none: 1,
  fan: 4,
  nap: 2,
  wait: 1,
  answer: 1,
  lane: 2,
}

/** Keys of the effects that a delivery must have at the provider, once each. */
export function effectsOf(delivery: { readonly kind: Kind; readonly ref: string }): readonly string[] {
  return Array.from({ length: EFFECTS[delivery.kind] }, (_, i) => `${delivery.ref}/${i + 1}`)
}
