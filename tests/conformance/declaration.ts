/* oxlint-disable vitest/no-conditional-expect, vitest/valid-expect -- what is expected depends on what the connector declares */
import { existsSync, readFileSync } from 'node:fs'
import { expect } from 'vitest'
import type { Twin } from '../../src/testing/index.ts'
import type { Harness } from './harness.ts'
import type { ConformanceOptions } from './subject.ts'

const DATED = /\b20\d\d-\d\d-\d\d\b/

export function describeDeclaration<T extends Twin>(
  { connector, folder, samples }: ConformanceOptions<T>,
  { describe, it }: Harness,
): void {
  describe('declaration', () => {
    const operations = [...connector.operationsByName]

    it('names a title, a base URL by TLS and a source with a date for every limit', () => {
      expect(connector.title).not.toBe('')
      expect(connector.baseUrl).toMatch(/^(https|smtps):\/\//)
      expect(connector.limits.length).toBeGreaterThan(0)
      for (const limit of connector.limits) {
        expect(limit.source, `limit ${limit.name}`).toMatch(DATED)
        expect(limit.allowed).toBeGreaterThan(0)
        expect(limit.windowMs).toBeGreaterThan(0)
      }
    })

    it('is checked by a read', () => {
      expect(connector.operationsByName.get(connector.check.operation)?.idempotency.kind).toBe('natural')
    })

    it('has a summary in words and a sample for every operation', () => {
      for (const [name, operation] of operations) {
        expect(operation.summary.length, `summary of ${name}`).toBeGreaterThan(5)
        expect(Object.keys(samples), 'operations with a sample').toContain(name)
      }
      expect(Object.keys(samples).filter((name) => !connector.operationsByName.has(name))).toEqual([])
    })

    it('promises lifetimes and settling times that can be kept', () => {
      for (const [name, { idempotency }] of operations) {
        if (idempotency.kind === 'key') expect(idempotency.lifetimeMs, name).toBeGreaterThan(0)
        if (idempotency.kind === 'lookup') expect(idempotency.settleAfterMs, name).toBeGreaterThanOrEqual(0)
      }
    })

    it('has events with summaries and a signature with a dated source', () => {
      for (const [type, event] of Object.entries(connector.events as Record<string, { summary: string }>))
        expect(event.summary.length, `summary of ${type}`).toBeGreaterThan(5)
      const signature = connector.webhooks?.signature
      if (signature && signature !== 'none') expect(signature.source).toMatch(DATED)
    })

    it('has a README that lists every operation and event and says what it was checked against', () => {
      const file = new URL('README.md', folder)
      expect(existsSync(file), 'README.md').toBe(true)
      const text = readFileSync(file, 'utf8')
      for (const [name] of operations) expect(text).toContain(`\`${name}\``)
      for (const type of Object.keys(connector.events as object)) expect(text).toContain(`\`${type}\``)
      expect(text).toMatch(/against the live service: never/i)
      expect(text).toMatch(DATED)
    })
  })
}
