import { z } from 'zod'
import { defineConnector, defineOperation } from 'trestle'
import { createTwin, route, type Clock, type Twin } from 'trestle/testing'

/** A carrier that knows no idempotency key and cannot be asked: what is in doubt there only a person can tell. */
export const letters = defineConnector({
  name: 'letters',
  title: 'Letters by post',
  baseUrl: 'http://127.0.0.1:1',
  auth: { kind: 'none' },
  operations: {
    letters: {
      post: defineOperation({
        summary: 'post a letter',
        input: z.object({ to: z.string(), text: z.string() }),
        output: z.object({ id: z.string() }),
        idempotency: { kind: 'none' },
        request: (input) => ({ method: 'POST', path: '/letters', body: { json: input } }),
      }),
      recall: defineOperation({
        summary: 'call a letter back',
        input: z.object({ id: z.string() }),
        output: z.object({ id: z.string() }),
        idempotency: { kind: 'natural' },
        request: ({ id }) => ({ method: 'DELETE', path: `/letters/${encodeURIComponent(id)}` }),
      }),
    },
    ping: defineOperation({
      summary: 'see whether it answers',
      input: z.object({}),
      output: z.looseObject({}),
      idempotency: { kind: 'natural' },
      request: () => ({ method: 'GET', path: '/ping' }),
    }),
  },
  events: {},
  limits: [],
  check: { operation: 'ping', input: {} },
})

interface Letter {
  readonly id: string
  readonly to: string
  readonly text: string
  recalled: boolean
}

export type LettersTwin = Twin<{ readonly letters: Map<string, Letter> }>

export function createLettersTwin(options: { readonly clock: Clock; readonly seed: string }): LettersTwin {
  const state = { letters: new Map<string, Letter>() }
  const twin: LettersTwin = createTwin({
    name: 'letters',
    state,
    ...options,
    routes: [
      route('POST', '/letters', (request) => {
        const { to, text } = request.json as { to: string; text: string }
        const id = twin.newId('let_', 12)
        state.letters.set(id, { id, to, text, recalled: false })
        request.effect({ kind: 'letter.posted', key: `${to} ${text}`, ref: id, summary: `letter to ${to}` })
        return { status: 201, json: { id } }
      }),
      route('DELETE', '/letters/:id', (request) => {
        const letter = state.letters.get(request.params['id'] ?? '')
        if (!letter) return { status: 404, json: { error: 'no such letter' } }
        if (!letter.recalled) {
          letter.recalled = true
          request.effect({ kind: 'letter.recalled', key: letter.id, ref: letter.id, summary: 'called back' })
        }
        return { status: 200, json: { id: letter.id } }
      }),
      route('GET', '/ping', () => ({ status: 200, json: { ok: true } })),
    ],
  })
  return twin
}
