import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { expect } from 'vitest'
import { atPointer, encodeJson, parseJson, type JsonValue } from '../../src/base/index.ts'
import type { EventDefinition, ProviderAnswer, Schema } from '../../src/define/index.ts'
import type { Twin } from '../../src/testing/index.ts'
import { checked, passes, rawOutput } from './exchange.ts'
import type { Harness } from './harness.ts'
import type { ConformanceOptions } from './subject.ts'

export function describeFixtures<T extends Twin>(
  { connector, folder }: ConformanceOptions<T>,
  { describe, it }: Harness,
): void {
  describe('fixtures', () => {
    const operations = jsonFiles(new URL('fixtures/operations/', folder))
    const events = jsonFiles(new URL('fixtures/events/', folder))

    it('exist', () => {
      expect(operations.length + events.length).toBeGreaterThan(0)
    })

    for (const [name, file] of operations)
      it(`of operation ${name} pass its contract, which notices a missing field`, async () => {
        const operation = connector.operationsByName.get(name)
        expect(operation).toBeDefined()
        const raw = rawOutput(operation!, answerOf(readJson(file)), {})
        await checked(operation!.output, raw, `The fixture of ${name}`)
        await expectVigilance(operation!.output, raw)
      })

    for (const [type, file] of events)
      it(`of event ${type} are found and pass their contract, which notices a missing field`, async () => {
        const body = readJson(file)
        // Fixtures are of accounts of their own: no setting of a connection leaves their events out.
        const found = connector.webhooks!.events({ body, headers: {}, settings: {} })
        const event = found.find((one) => one.type === type)
        expect(event).toBeDefined()
        const definition = (connector.events as Record<string, EventDefinition>)[type]
        expect(definition).toBeDefined()
        const data = atPointer(body, event!.at)
        await checked(definition!.schema, data, `The fixture of ${type}`)
        await expectVigilance(definition!.schema, data)
      })
  })
}

/** A contract that no missing field breaks protects nothing. */
async function expectVigilance(schema: Schema, value: unknown): Promise<void> {
  expect(value).toBeTypeOf('object')
  let noticed = 0
  for (const field of Object.keys(value as object)) {
    const without = { ...(value as Record<string, unknown>) }
    delete without[field]
    if (!(await passes(schema, without))) noticed++
  }
  expect(noticed, 'fields whose absence is noticed').toBeGreaterThan(0)
}

function jsonFiles(folder: URL): [string, URL][] {
  if (!existsSync(folder)) return []
  return readdirSync(folder)
    .filter((name) => name.endsWith('.json'))
    .sort()
    .map((name) => [name.slice(0, -'.json'.length), new URL(name, folder)])
}

function readJson(file: URL): JsonValue {
  return parseJson(readFileSync(file))
}

function answerOf(json: JsonValue): ProviderAnswer {
  return { status: 200, headers: { 'content-type': 'application/json' }, json, text: encodeJson(json) }
}
