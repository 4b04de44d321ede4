import type { HttpError } from './problem.ts'
import { writeJson } from './json.ts'

/** On every answer: nothing is kept by caches, and nothing is taken for what it does not say it is. */
const ALWAYS = { 'cache-control': 'no-store', 'x-content-type-options': 'nosniff' } as const

export function jsonAnswer(
  status: number,
  value: unknown,
  headers: Readonly<Record<string, string>> = {},
): Response {
  return new Response(writeJson(value), {
    status,
    headers: { ...ALWAYS, 'content-type': 'application/json', ...headers },
  })
}

export function problemAnswer({ problem, headers }: HttpError): Response {
  return new Response(writeJson(problem), {
    status: problem.status,
    headers: { ...ALWAYS, 'content-type': 'application/problem+json', ...headers },
  })
}

export function textAnswer(status: number, contentType: string, text: string): Response {
  return new Response(text, { status, headers: { ...ALWAYS, 'content-type': contentType } })
}
