/* oxlint-disable vitest/no-conditional-expect, vitest/valid-expect -- what is expected depends on what the connector declares */
import { expect } from 'vitest'
import { atPath, atPointer, parseJson, type JsonValue } from '../../src/base/index.ts'
import type { EventDefinition, WebhookDefinition } from '../../src/define/index.ts'
import type { Twin } from '../../src/testing/index.ts'
import { verifySignature } from '../../src/webhooks/index.ts'
import { checked } from './exchange.ts'
import type { Harness } from './harness.ts'
import { startReceiver, type Received, type Receiver } from './receiver.ts'
import { startSubject, type ConformanceOptions, type Subject } from './subject.ts'

export function describeWebhooks<T extends Twin>(
  options: ConformanceOptions<T>,
  webhooks: WebhookDefinition,
  { describe, it, beforeEach, afterEach }: Harness,
): void {
  describe('webhooks', () => {
    const events = options.connector.events as Record<string, EventDefinition>
    const given = options.webhooks
    const eventsIn = (delivery: Received) =>
      webhooks.events({
        body: bodyOf(delivery),
        headers: delivery.headers,
        settings: options.settings ?? {},
      })
    let subject: Subject<T>
    let receiver: Receiver

    beforeEach(async () => {
      if (!given) throw new Error('The connector declares webhooks; give the suite "webhooks".')
      subject = await startSubject(options)
      receiver = await startReceiver()
      await given.send(subject.twin, receiver.url)
    })
    afterEach(async () => {
      await receiver.stop()
      await subject.stop()
    })

    it('of every declared event come from the twin, are found in their deliveries and pass their contracts', async () => {
      const found = new Set<string>()
      for (const delivery of receiver.received) {
        const body = bodyOf(delivery)
        for (const event of eventsIn(delivery)) {
          found.add(event.type)
          const data = atPointer(body, event.at)
          expect(data, `data of ${event.type} at ${event.at}`).toBeDefined()
          const definition = events[event.type]
          if (!definition) continue
          const value = await checked(definition.schema, data, `The event ${event.type}`)
          expect(definition.describe?.(value) ?? 'no description').not.toBe('')
          if (event.occurredAt !== undefined)
            expect(new Date(event.occurredAt).toISOString()).toBe(new Date(event.occurredAt).toISOString())
          for (const path of definition.match ?? [])
            expect(path, 'waitFor matches below "data"').toMatch(/^data\./)
        }
      }
      expect([...found].filter((type) => events[type]).sort()).toEqual(Object.keys(events).sort())
    })

    it('can be matched by every path that is declared for waiting, in at least one delivery', async () => {
      const missing = new Set(
        Object.entries(events).flatMap(([type, { match = [] }]) => match.map((m) => `${type} ${m}`)),
      )
      for (const delivery of receiver.received)
        for (const event of eventsIn(delivery)) {
          const definition = events[event.type]
          if (!definition) continue
          // As the inbox does it: what a flow sees is what the contract gives out.
          const raw = atPointer(bodyOf(delivery), event.at)
          const data = await checked(definition.schema, raw, `The event ${event.type}`)
          for (const path of definition.match ?? [])
            if (atPath({ data }, path) !== undefined) missing.delete(`${event.type} ${path}`)
        }
      expect([...missing]).toEqual([])
    })

    it('carry the same id when they come again, and ids of their own otherwise', async () => {
      const first = receiver.received[0]!
      await subject.twin.webhooks.resend(1)
      const again = receiver.received.at(-1)!
      const idsOf = (delivery: Received) => eventsIn(delivery).map(({ id }) => id)
      expect(idsOf(again)).toEqual(idsOf(first))
      const ids = receiver.received
        .slice(0, -1)
        .flatMap(idsOf)
        .filter((id) => id !== undefined)
      expect(new Set(ids).size).toBe(ids.length)
      if (webhooks.contentUniqueBy !== undefined) {
        const without = receiver.received.filter(
          (delivery) => atPath(bodyOf(delivery), webhooks.contentUniqueBy!) === undefined,
        )
        expect(without).toEqual([])
      }
    })

    it('are of a content type that the connector accepts', () => {
      const accepted = webhooks.contentTypes ?? ['application/json']
      for (const { headers } of receiver.received)
        expect(accepted).toContain(headers['content-type']?.split(';')[0])
    })

    const scheme = webhooks.signature
    if (scheme !== 'none') {
      it('are verified with the secret, and refused when the secret, the body or the time is another', () => {
        const now = subject.clock.now()
        const verify = (delivery: Received, secrets: readonly string[], at = now) =>
          verifySignature(scheme, { ...delivery, headers: delivery.rawHeaders }, secrets, at)
        const secrets = given?.secrets ?? []
        expect(receiver.received.length).toBeGreaterThan(0)
        for (const delivery of receiver.received) {
          expect(verify(delivery, secrets)).toMatchObject({ ok: true })
          expect(verify(delivery, ['another-secret', ...secrets])).toMatchObject({ ok: true })
          expect(verify(delivery, [btoa('another secret of enough bytes')])).toMatchObject({ ok: false })
          const changed = Buffer.from(delivery.body)
          changed[changed.length - 2]! ^= 1
          expect(verify({ ...delivery, body: changed }, secrets)).toMatchObject({ ok: 'kind' in scheme })
          if ('kind' in scheme) {
            const bare = { ...delivery, url: delivery.url.split('?')[0]! }
            expect(verify(bare, secrets)).toMatchObject({ code: 'signature_missing' })
          } else if (scheme.timestamp)
            for (const offset of [-301_000, 301_000])
              expect(verify(delivery, secrets, now + offset)).toMatchObject({
                code: 'timestamp_outside_tolerance',
              })
        }
      })

      // A secret in the URL covers no body, so there is no forgery that it would notice.
      if ('kind' in scheme) return
      it('are refused when the twin forges them', async () => {
        const before = receiver.received.length
        subject.twin.webhooks.forgeBeforeNext(1)
        await given!.send(subject.twin, receiver.url)
        const forged = receiver.received[before]!
        const genuine = receiver.received[before + 1]!
        const verify = (delivery: Received) =>
          verifySignature(
            scheme,
            { ...delivery, headers: delivery.rawHeaders },
            given!.secrets,
            subject.clock.now(),
          ).ok
        expect(verify(forged)).toBe(false)
        expect(verify(genuine)).toBe(true)
      })
    }
  })
}

function bodyOf(delivery: Received): JsonValue {
  if (delivery.headers['content-type']?.startsWith('application/x-www-form-urlencoded'))
    return Object.fromEntries(new URLSearchParams(delivery.body.toString('utf8')))
  return parseJson(delivery.body)
}
