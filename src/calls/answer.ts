import { JsonError, parseJson, type JsonValue } from '../base/index.ts'
import type { ProviderAnswer } from '../define/index.ts'
import type { Answered } from '../egress/index.ts'

/** An answer as operations see it, with its bytes and what is wrong with its JSON. */
export interface ReadAnswer extends ProviderAnswer {
  readonly body: Buffer
  /** Why a body that claims to be JSON is none, and where. */
  readonly jsonProblem: { readonly path: string; readonly reason: string } | undefined
}

/** Reads an answer: the JSON losslessly where the body is JSON, the text only when somebody asks. */
export function readAnswer(answered: Pick<Answered, 'status' | 'headers' | 'body'>): ReadAnswer {
  const { status, headers, body } = answered
  const read = readJson(body, headers['content-type'] ?? '')
  let text: string | undefined
  return {
    status,
    headers,
    body,
    json: read.json,
    jsonProblem: read.problem,
    get text() {
      text ??= body.toString('utf8')
      return text
    },
  }
}

interface ReadJson {
  readonly json: JsonValue | undefined
  readonly problem: ReadAnswer['jsonProblem']
}

/** A body is JSON if it says so (RFC 6839: `+json` too), or looks so and says nothing or plain text. */
function readJson(body: Buffer, contentType: string): ReadJson {
  const none = { json: undefined, problem: undefined }
  const claimed = /^[^;]*[/+]json\b/i.test(contentType)
  const first = body[0]
  if (first === undefined || (!claimed && first !== 0x7b && first !== 0x5b)) return none
  try {
    return { json: parseJson(body), problem: undefined }
  } catch (error) {
    if (!claimed) return none
    const path = error instanceof JsonError ? error.path : ''
    return { json: undefined, problem: { path, reason: (error as Error).message } }
  }
}
