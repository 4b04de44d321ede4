/**
 * What every connector must pass, against its twin over real HTTP. A connector's own test calls
 * {@link describeConnector} with the connector, its twin and one sample input for each operation, and adds what is
 * special about the provider.
 *
 * 1. The declaration is whole: names, summaries, limits with dated sources, a README that lists every operation.
 * 2. Each operation's request is deterministic, and the answer passes its contract, which notices a missing field.
 * 3. Idempotency holds as declared: a key acts once, a natural operation changes nothing more, a look-up finds what
 *    was done and nothing else, once it has settled.
 * 4. Webhooks of every declared event are verified, found and pass their contract; forged ones are refused.
 * 5. Fixtures pass: `fixtures/operations/<operation>.json` is an answer's body, `fixtures/events/<type>.json` a
 *    delivery's body.
 */
import type { Twin } from '../../src/testing/index.ts'
import { describeDeclaration } from './declaration.ts'
import { describeFixtures } from './fixtures.ts'
import { vitestHarness, type Harness } from './harness.ts'
import { describeOperations } from './operations.ts'
import type { ConformanceOptions } from './subject.ts'
import { describeWebhooks } from './webhooks.ts'

export type { ConformanceOptions, Sample, Subject } from './subject.ts'
export { startSubject } from './subject.ts'

export function describeConnector<T extends Twin>(
  options: ConformanceOptions<T>,
  harness: Harness = vitestHarness,
): void {
  harness.describe(`conformance of ${options.connector.name}`, () => {
    describeDeclaration(options, harness)
    describeOperations(options, harness)
    if (options.connector.webhooks) describeWebhooks(options, options.connector.webhooks, harness)
    describeFixtures(options, harness)
  })
}
