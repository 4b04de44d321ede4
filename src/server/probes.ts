import type { IncomingMessage, ServerResponse } from 'node:http'
import { answerHealth, answerReady, type ReadinessDeps } from './http/readiness.ts'

/**
 * Answers `/health` and `/ready` on a node that does not serve the API, so that a load balancer knows whether to send
 * it webhooks. Answers whether the request was one of these. It never throws.
 */
export function createProbes(
  deps: ReadinessDeps,
): (request: IncomingMessage, response: ServerResponse) => boolean {
  return (request, response) => {
    if (request.method !== 'GET' || (request.url !== '/health' && request.url !== '/ready')) return false
    const answer = request.url === '/health' ? Promise.resolve(answerHealth()) : answerReady(deps)
    void answer.then((answered) => send(answered, response)).catch(() => response.destroy())
    return true
  }
}

async function send(answered: Response, response: ServerResponse): Promise<void> {
  const body = await answered.text()
  response.writeHead(answered.status, Object.fromEntries(answered.headers)).end(body)
}
