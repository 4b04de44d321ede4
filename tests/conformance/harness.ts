/* oxlint-disable vitest/valid-describe-callback, vitest/valid-title -- handed on, not written here */
import { afterEach, beforeEach, describe, it } from 'vitest'

/** Where the suite's checks are registered: with vitest, or with {@link createCollector} to run them one by one. */
export interface Harness {
  readonly describe: (name: string, body: () => void) => void
  readonly it: (name: string, check: () => unknown) => void
  readonly beforeEach: (before: () => unknown) => void
  readonly afterEach: (after: () => unknown) => void
}

export const vitestHarness: Harness = {
  describe: (name, body) => void describe(name, body),
  it: (name, check) => it(name, check as () => Promise<void>),
  beforeEach: (before) => beforeEach(before as () => Promise<void>),
  afterEach: (after) => afterEach(after as () => Promise<void>),
}

/** Keeps checks by their names, so that a test can show that a check notices a fault. */
export interface Collector extends Harness {
  readonly names: () => readonly string[]
  /** Runs the checks whose name (with those of the groups around it) contains this; gives the names that failed. */
  failing(part: string): Promise<readonly string[]>
}

interface Scope {
  readonly name: string
  readonly before: (() => unknown)[]
  readonly after: (() => unknown)[]
}

export function createCollector(): Collector {
  const scopes: Scope[] = []
  const checks = new Map<string, { check: () => unknown; around: readonly Scope[] }>()
  return {
    describe(name, body) {
      scopes.push({ name, before: [], after: [] })
      body()
      scopes.pop()
    },
    it(name, check) {
      const around = [...scopes]
      checks.set([...around.map((scope) => scope.name), name].join(' > '), { check, around })
    },
    beforeEach: (before) => void scopes.at(-1)?.before.push(before),
    afterEach: (after) => void scopes.at(-1)?.after.push(after),
    names: () => [...checks.keys()],
    async failing(part) {
      const failed: string[] = []
      for (const [name, { check, around }] of checks) {
        if (!name.includes(part)) continue
        for (const { before } of around) for (const one of before) await one()
        try {
          await check()
          for (const { after } of around) for (const one of after) await one()
        } catch {
          failed.push(name)
        }
      }
      return failed
    },
  }
}
