import { createRequire } from 'node:module'
import { describe, expect, it } from 'vitest'
import { encodeJson } from '../base/index.ts'
import { signatureSchemes, type WebhookDefinition } from '../define/index.ts'
import { readDelivery } from './read-delivery.ts'
import { signPayload } from './sign.ts'
import { verifySignature } from './verify.ts'

const WEBHOOKS: WebhookDefinition = {
  signature: signatureSchemes.github,
  idIsSigned: false,
  events: ({ headers }) => [{ type: headers['x-github-event']!, at: '' }],
}

/** The package's own types do not fit the JSON file that it is. */
const require = createRequire(import.meta.url)
const examples = require('@octokit/webhooks-examples') as readonly {
  readonly name: string
  readonly examples: readonly unknown[]
}[]

/** Real deliveries of another provider, as GitHub publishes them. */
const DELIVERIES = examples.flatMap(({ name, examples }) =>
  examples.map((payload) => ({ name, body: Buffer.from(JSON.stringify(payload)) })),
)

describe('the deliveries that GitHub publishes', () => {
  it('are all verified, read without loss and never quarantined', () => {
    expect(DELIVERIES.length).toBeGreaterThan(300)
    for (const { name, body } of DELIVERIES) {
      const url = 'https://hooks.example.com/webhooks/github'
      const signed = signPayload(signatureSchemes.github, { url, body, at: 0 }, ['secret'])
      const headers = [...Object.entries(signed.headers), ['X-GitHub-Event', name] as const]
      const request = { method: 'POST', url, headers, body }
      expect(verifySignature(signatureSchemes.github, request, ['secret'], 0)).toEqual({ ok: true })
      const reading = readDelivery(WEBHOOKS, {
        contentType: 'application/json',
        headers,
        body,
        settings: {},
      })
      expect(reading.quarantine).toBeUndefined()
      expect(reading.events).toEqual([{ type: name, at: '' }])
      expect(encodeJson(reading.parsed)).toBe(body.toString())
    }
  })
})
