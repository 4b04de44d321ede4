/* oxlint-disable vitest/no-conditional-expect, vitest/valid-expect -- what is expected depends on what the connector declares */
import { expect } from 'vitest'
import { baseUrlFor, type AnyOperation } from '../../src/define/index.ts'
import type { Twin } from '../../src/testing/index.ts'
import { checked, wireRequest } from './exchange.ts'
import type { Harness } from './harness.ts'
import { startSubject, type ConformanceOptions, type Sample, type Subject } from './subject.ts'

export function describeOperations<T extends Twin>(options: ConformanceOptions<T>, harness: Harness): void {
  harness.describe('operations', () => {
    for (const [name, operation] of options.connector.operationsByName)
      harness.describe(name, () => describeOperation(options, name, operation, harness))
  })
}

function describeOperation<T extends Twin>(
  options: ConformanceOptions<T>,
  name: string,
  operation: AnyOperation,
  { it, beforeEach, afterEach }: Harness,
): void {
  const { connector, samples } = options
  let subject: Subject<T>

  beforeEach(async () => {
    subject = await startSubject(options)
  })
  afterEach(async () => {
    await subject.stop()
    expect(subject.twin.ownErrors(), 'errors of the twin itself').toEqual([])
  })

  /** Calls the sample and expects it done. */
  const done = async (input: unknown, key?: string) => {
    const called = await subject.call(name, input, key === undefined ? {} : { key })
    expect(called.classification, called.answer.text).toEqual({ as: 'succeeded' })
    return called
  }
  const effectsDuring = async (act: () => Promise<unknown>): Promise<number> => {
    const before = subject.twin.effects().length
    await act()
    return subject.twin.effects().length - before
  }
  const snapshot = (): unknown =>
    structuredClone(options.snapshot ? options.snapshot(subject.twin) : subject.twin.state)

  const sample: Sample<T> = samples[name] ?? {
    input: () => {
      throw new Error(`There is no sample for ${name}.`)
    },
  }

  it('builds the same request for the same input and key, without a word about authorization', async () => {
    const input = await checked(operation.input, await sample.input(subject), `The sample input of ${name}`)
    const build = () =>
      wireRequest(
        {
          connector,
          name,
          operation,
          baseUrl: baseUrlFor(connector, options.settings ?? {}),
          settings: options.settings ?? {},
          key: 'key-1',
          begunAt: subject.clock.now(),
          kind: 'send',
        },
        input,
      )
    const wire = await build()
    expect(await build()).toEqual(wire)
    expect(wire.url).not.toMatch(/[{}]/)
    expect(new URL(wire.url).pathname).not.toMatch(/undefined|\[object|%20undefined/)
    expect(wire.body).not.toMatch(/undefined|\[object Object\]/)
    expect(wire.headers).not.toHaveProperty('authorization')
    if (wire.method === 'GET') expect(wire.body).toBe('')
    if (wire.method === 'GET') expect(operation.idempotency.kind).toBe('natural')
  })

  it('is done by the twin, with the effects it should have and an answer that passes its contract', async () => {
    const input = await sample.input(subject)
    let called: Awaited<ReturnType<typeof done>> | undefined
    const effects = await effectsDuring(async () => {
      called = await done(input)
    })
    const output = await called!.output()
    const method = subject.twin.requests().at(-1)?.method
    expect(effects).toBe(sample.effects ?? (method === 'GET' ? 0 : 1))
    if (operation.describe) expect(operation.describe(called!.input, output).trim()).not.toBe('')
  })

  it('is refused without a credential, and the twin does nothing', async () => {
    if (connector.auth.kind === 'none') return
    const input = await sample.input(subject)
    const bare = await startSubjectLike(options, subject)
    const effects = await effectsDuring(async () => {
      const called = await bare.call(name, input)
      expect(called.classification.as, called.answer.text).toBe('unauthorized')
    })
    expect(effects).toBe(0)
  })

  it('is to be tried again, not before the time the provider names, when it is limited', async () => {
    const input = await sample.input(subject)
    subject.twin.faults.rateLimit(1, 7)
    const { classification } = await subject.call(name, input)
    expect(classification.as).toBe('retry')
    if (classification.as === 'retry' && classification.retryAt !== undefined)
      expect(classification.retryAt).toBeGreaterThanOrEqual(subject.clock.now() + 7000)
  })

  it('never takes an answer for done that is no answer of the provider', async () => {
    const input = await sample.input(subject)
    subject.twin.faults.garbage(1)
    const called = await subject.call(name, input)
    if (called.classification.as !== 'succeeded' || sample.anyBody !== undefined) return
    await expect(called.output()).rejects.toThrow(/fails its contract/)
  })

  const { idempotency } = operation
  if (idempotency.kind === 'key') {
    it('acts once for one key, gives the same answer again, and acts again for another key', async () => {
      const input = await sample.input(subject)
      const expected = sample.effects ?? 1
      const outputs: unknown[] = []
      const twice = await effectsDuring(async () => {
        outputs.push(await (await done(input, 'same')).output())
        outputs.push(await (await done(input, 'same')).output())
      })
      expect(twice).toBe(expected)
      expect(outputs[1]).toEqual(outputs[0])
    })

    it('acts once for one key when the first answer is lost', async () => {
      const input = await sample.input(subject)
      subject.twin.faults.resetAfterActing(1)
      const effects = await effectsDuring(async () => {
        await expect(subject.call(name, input, { key: 'same' })).rejects.toMatchObject({
          code: expect.stringMatching(/ECONNRESET|UND_ERR_SOCKET/),
        })
        await done(input, 'same')
      })
      expect(effects).toBe(sample.effects ?? 1)
    })
  }

  if (idempotency.kind === 'natural') {
    it('changes nothing more when repeated', async () => {
      const input = await sample.input(subject)
      const first = await (await done(input)).output()
      const before = snapshot()
      const second = await (await done(input)).output()
      if (sample.mayDiffer === undefined) {
        expect(snapshot()).toEqual(before)
        expect(second).toEqual(first)
      }
    })
  }

  const lookup = idempotency.kind === 'key' ? idempotency.afterLifetime : idempotency
  if (lookup?.kind === 'lookup') {
    it('is found by its look-up when done and settled, and not before it was done', async () => {
      const input = await sample.input(subject)
      const begunAt = subject.clock.now()
      expect(await subject.lookUp(name, input, { key: 'sought', begunAt })).toBeUndefined()
      const output = await (await done(input, 'sought')).output()
      await subject.clock.advance(lookup.settleAfterMs)
      const before = subject.twin.effects().length
      expect(await subject.lookUp(name, input, { key: 'sought', begunAt })).toEqual(output)
      expect(subject.twin.effects().length, 'a look-up is a read').toBe(before)
      expect(subject.twin.requests().at(-1)?.status).toBe(200)
    })

    it("is not confused by its look-up with another call's work", async () => {
      const input = await sample.input(subject)
      const begunAt = subject.clock.now()
      await done(input, 'another')
      await subject.clock.advance(lookup.settleAfterMs)
      const found = await subject.lookUp(name, input, { key: 'sought', begunAt })
      expect(found === undefined, sample.lookupTakesOthers).toBe(sample.lookupTakesOthers === undefined)
    })
  }
}

/** The same running twin, spoken to without a credential. */
async function startSubjectLike<T extends Twin>(
  options: ConformanceOptions<T>,
  subject: Subject<T>,
): Promise<Subject<T>> {
  const shared = { ...subject.twin, start: async () => subject.twin.url, url: subject.twin.url }
  return startSubject({ ...options, twin: () => shared, authorize: () => ({}) })
}
