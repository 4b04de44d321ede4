import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { acme, failedFor, made } from '../../../tests/support/engine.ts'
import { systemClock, systemRandom } from '../../base/index.ts'
import type { CallOutcome, CallRequest } from '../../calls/index.ts'
import { defineFlow, type AnyFlow, type FlowContext } from '../../define/index.ts'
import { createFakeClock } from '../../testing/fakeClock.ts'
import { openServer, type ServerFixture } from '../server.fixture.ts'
import { CODE_FOR_MS, createLiveDoor, SESSION_FOR_MS } from './access.ts'
import { VIEWERS_LIMIT } from './index.ts'

const flow = defineFlow({
  name: 'thing-flow',
  on: acme.on('thing.happened'),
  async run({ event, use, sleep }: FlowContext) {
    const { what } = event.data as { what?: string }
    await use(acme).things.create({ what })
    if (what === 'sleep') await sleep('2 days')
  },
})
const NAUGHTY = `<img src=x onerror=alert(1)>"'&\u202e\u0007\u2028</script>`

function call({ input }: CallRequest): CallOutcome {
  const { what } = input as { what?: string }
  if (what === 'naughty') return { ...failedFor('odd', false), reason: NAUGHTY } as CallOutcome
  return { ...made(), summary: 'thing made' } as CallOutcome
}

let server: ServerFixture
beforeAll(async () => {
  server = await openServer({ flows: [flow as AnyFlow], call, over: { clock: systemClock } })
})
afterAll(() => server.close())

async function enterWith(code: string): Promise<Response> {
  return fetch(`${server.url}/live/enter?code=${code}`)
}
async function signIn(): Promise<string> {
  const answer = await enterWith(server.api.liveAccess.issue())
  expect(answer.status).toBe(200)
  return answer.headers.get('set-cookie')!.split(';', 1)[0]!
}
const page = (path: string, cookie: string): Promise<Response> =>
  fetch(server.url + path, { headers: { cookie } })

interface Message {
  readonly event: string
  readonly data: {
    readonly cards: { readonly id: string; readonly html: string }[]
    readonly overview: string
    readonly html: string
  }
}

/** Reads server-sent events until one is as wanted; the stream is left then. */
async function until(
  path: string,
  cookie: string,
  wanted: (message: Message) => boolean,
  act: () => Promise<unknown> = () => Promise.resolve(),
): Promise<Message> {
  const leaving = new AbortController()
  const answer = await fetch(server.url + path, { headers: { cookie }, signal: leaving.signal })
  expect(answer.headers.get('content-type')).toBe('text/event-stream')
  let text = ''
  let acted = false
  for await (const chunk of answer.body!.pipeThrough(new TextDecoderStream())) {
    text += chunk
    const parts = text.split('\n\n')
    text = parts.pop()!
    for (const part of parts) {
      const [, event, data] = /^event: (.*)\ndata: (.*)$/.exec(part) ?? []
      if (event === undefined) continue
      if (!acted) {
        acted = true
        await act()
      }
      const message: Message = { event, data: JSON.parse(data!) as Message['data'] }
      if (wanted(message)) {
        leaving.abort()
        return message
      }
    }
  }
  throw new Error('the stream ended first')
}

describe('the link to the live page', () => {
  it('opens a session once: strict, not for scripts, and good at another node', async () => {
    const code = server.api.liveAccess.issue()
    const answer = await enterWith(code)
    const cookie = answer.headers.get('set-cookie')!
    expect(cookie).toMatch(
      /^trestle_live_\d+=[A-Za-z0-9_-]{43}; Max-Age=43200; Path=\/; HttpOnly; SameSite=Strict$/,
    )
    expect((await enterWith(code)).status).toBe(401)
    expect((await page('/', cookie.split(';', 1)[0]!)).status).toBe(200)
    // What is kept lets nobody in.
    const { rows } = await server.engine.database.pool.query<{ kept: string }>(
      `select name || convert_from(value, 'UTF8') as kept from installation`,
    )
    expect(rows.map(({ kept }) => kept).join()).not.toContain(/=([^;]+)/.exec(cookie)![1])
  })

  it('is not used up by a browser or a chat that looks ahead', async () => {
    const code = server.api.liveAccess.issue()
    const url = `${server.url}/live/enter?code=${code}`
    expect((await fetch(url, { method: 'HEAD' })).status).toBe(401)
    expect((await fetch(url, { headers: { 'sec-purpose': 'prefetch' } })).status).toBe(401)
    expect((await enterWith(code)).status).toBe(200)
  })

  it('is good for 10 minutes, and its session for 12 hours', async () => {
    const clock = createFakeClock()
    const door = createLiveDoor({
      database: server.engine.database.pool,
      tokens: server.vault.tokens,
      clock,
      random: systemRandom,
      tenant: 'default',
    })
    const late = door.issue()
    clock.set(clock.now() + CODE_FOR_MS + 1)
    expect(await door.enterByCode(late)).toBeUndefined()
    const session = await door.enterByCode(door.issue())
    clock.set(clock.now() + SESSION_FOR_MS - 1)
    expect(await door.viewerOf(session!)).toEqual({ tenant: 'default' })
    clock.set(clock.now() + 2)
    expect(await door.viewerOf(session!)).toBeUndefined()
  })

  it('may be an API token instead, whose session ends with it', async () => {
    const made = await server.vault.tokens.create({
      tenant: 'other',
      name: 'eyes',
      actor: 'operator:test',
    })
    const enter = (token: string, headers: Record<string, string> = {}): Promise<Response> =>
      fetch(`${server.url}/live/enter`, { method: 'POST', body: new URLSearchParams({ token }), headers })
    expect((await enter('trs_wrong')).status).toBe(401)
    expect((await enter(made.token, { 'sec-fetch-site': 'cross-site' })).status).toBe(403)
    const cookie = (await enter(made.token)).headers.get('set-cookie')!.split(';', 1)[0]!
    expect((await page('/', cookie)).status).toBe(200)
    await server.vault.tokens.revoke('other', made.id, 'operator:test')
    expect((await page('/', cookie)).status).toBe(401)
  })

  it('ends when its viewer signs out', async () => {
    const cookie = await signIn()
    const leave = (headers: Record<string, string>): Promise<Response> =>
      fetch(`${server.url}/live/leave`, { method: 'POST', headers: { cookie, ...headers } })
    expect((await leave({ 'sec-fetch-site': 'cross-site' })).status).toBe(403)
    expect((await leave({})).headers.get('set-cookie')).toContain('Max-Age=0')
    expect((await page('/', cookie)).status).toBe(401)
  })
})

describe('a page', () => {
  it('runs no script but our own, stands in no frame, and is kept by nobody', async () => {
    const cookie = await signIn()
    const answer = await page('/', cookie)
    const policy = answer.headers.get('content-security-policy')!
    expect(policy).toContain("default-src 'none'; script-src 'self';")
    expect(policy).toContain("frame-ancestors 'none'")
    expect(policy).not.toContain('unsafe')
    expect(answer.headers.get('cache-control')).toBe('no-store')
    const text = await answer.text()
    expect(text).not.toMatch(/<script(?! src="\/live\.js" defer><\/script>)|<style| on\w+=| style=/)
    expect((await page('/live.js', cookie)).headers.get('content-type')).toContain('text/javascript')
    expect((await page('/live.css', cookie)).headers.get('content-type')).toContain('text/css')
  })

  it('of who is not known is the one to sign in, with a style that the policy allows', async () => {
    const { createHash } = await import('node:crypto')
    const answer = await fetch(server.url)
    expect(answer.status).toBe(401)
    const style = /<style>([^]*)<\/style>/.exec(await answer.text())![1]!
    const hash = createHash('sha256').update(style).digest('base64')
    expect(answer.headers.get('content-security-policy')).toContain(`'sha256-${hash}'`)
  })

  it('of a run shows its steps; of no run it says so', async () => {
    const { runs } = await server.engine.deliver('thing.happened', { n: 1, what: 'sleep' })
    await server.engine.reached(runs[0]!, 'waiting')
    const cookie = await signIn()
    const text = await (await page(`/runs/${runs[0]!}`, cookie)).text()
    expect(text).toContain('thing made')
    expect(text).toMatch(/Sleeps, and goes on<\/bdi> <time class="until" datetime="[^"]+">in 1 day 23 h</)
    expect(text).toContain('<svg class="bar"')
    expect((await page('/runs/%3Cb%3E', cookie)).status).toBe(404)
    expect(await (await page('/runs/%3Cb%3E', cookie)).text()).not.toContain('<b>')
    expect((await page('/runs/%00', cookie)).status).toBe(404)
    expect((await page('/live/stream?run=%00', cookie)).status).toBe(404)
  })

  it('escapes and isolates what others wrote', async () => {
    const { runs } = await server.engine.deliver('thing.happened', { n: 1, what: 'naughty' })
    await server.engine.reached(runs[0]!, 'dead_lettered')
    const cookie = await signIn()
    const card = await until('/live/stream', cookie, ({ event }) => event === 'snapshot')
    const shown = [
      await (await page(`/runs/${runs[0]!}`, cookie)).text(),
      card.data.cards.map(({ html }) => html).join('') + card.data.overview,
    ]
    for (const text of shown) {
      expect(text).toContain(
        '<bdi>&lt;img src=x onerror=alert(1)&gt;&quot;&#39;&amp;\u202e\ufffd\ufffd&lt;/script&gt;</bdi>',
      )
      expect(text).not.toContain('<img')
    }
  })

  it('of another tenant shows nothing of this one', async () => {
    const { runs } = await server.engine.deliver('thing.happened', { n: 1 })
    const answer = await fetch(`${server.url}/live/enter`, {
      method: 'POST',
      body: new URLSearchParams({ token: server.foreignToken }),
    })
    const cookie = answer.headers.get('set-cookie')!.split(';', 1)[0]!
    expect((await page(`/runs/${runs[0]!}`, cookie)).status).toBe(404)
    const snapshot = await until('/live/stream', cookie, ({ event }) => event === 'snapshot')
    expect(snapshot.data.cards).toEqual([])
    expect(snapshot.data.overview).not.toContain('thing-flow')
  })
})

describe('the stream', () => {
  it('gives what there is first, then events, runs and calls as they happen', async () => {
    const cookie = await signIn()
    let event = ''
    const message = await until(
      '/live/stream',
      cookie,
      ({ event: name, data }) =>
        name === 'cards' && data.cards.some(({ id, html }) => id === event && html.includes('succeeded')),
      async () => {
        event = (await server.engine.deliver('thing.happened', { n: 1 })).event
      },
    )
    const card = message.data.cards.find(({ id }) => id === event)!
    expect(card.html).toContain('a thing happened')
    expect(card.html).toContain('thing made')
    expect(card.html).toContain('href="/runs/run_')
  })

  it('gives what another node did, and what changed without a ledger entry', async () => {
    const cookie = await signIn()
    const { event, runs } = await server.engine.deliver('thing.happened', { n: 1, what: 'sleep' })
    await server.engine.reached(runs[0]!, 'waiting')
    const message = await until(
      '/live/stream',
      cookie,
      ({ event: name, data }) =>
        name === 'cards' &&
        data.cards.some(({ id, html }) => id === event && html.includes('moved elsewhere')),
      () =>
        server.engine.database.pool.query(
          `update runs set reason = 'moved elsewhere', updated_at = clock_timestamp() where id = $1`,
          [runs[0]],
        ),
    )
    expect(message.data.cards.find(({ id }) => id === event)!.html).toContain('moved elsewhere')
  })

  it('of one run gives its timeline when it moves', async () => {
    const cookie = await signIn()
    const { runs } = await server.engine.deliver('thing.happened', { n: 1, what: 'sleep' })
    await server.engine.reached(runs[0]!, 'waiting')
    const message = await until(
      `/live/stream?run=${runs[0]!}`,
      cookie,
      ({ event, data }) => event === 'run' && data.html.includes('cancelled'),
      () => server.engine.operator.cancel(runs[0]!, { actor: 'operator:test', tenant: 'default' }),
    )
    expect(message.data.html).toContain('id="run"')
  })

  it('is not opened for more viewers than the limit, and a place is free again once one leaves', async () => {
    const cookie = await signIn()
    const leaving: AbortController[] = []
    const open = async (): Promise<number> => {
      const left = new AbortController()
      leaving.push(left)
      const answer = await fetch(`${server.url}/live/stream`, { headers: { cookie }, signal: left.signal })
      return answer.status
    }
    for (let i = 0; i < VIEWERS_LIMIT; i++) expect(await open()).toBe(200)
    expect(await open()).toBe(503)
    for (const left of leaving) left.abort()
    let status = 503
    while (status === 503) status = await open()
    expect(status).toBe(200)
    for (const left of leaving) left.abort()
  })

  it('is not opened by a HEAD, which nobody would end', async () => {
    const cookie = await signIn()
    const answer = await fetch(`${server.url}/live/stream`, { method: 'HEAD', headers: { cookie } })
    expect(answer.status).toBe(405)
  })

  it('ends when the server closes', async () => {
    const closing = await openServer({ idle: true })
    const answer = await fetch(`${closing.url}/live/enter?code=${closing.api.liveAccess.issue()}`)
    const cookie = answer.headers.get('set-cookie')!.split(';', 1)[0]!
    const stream = await fetch(`${closing.url}/live/stream`, { headers: { cookie } })
    await closing.api.close()
    await stream.text()
    expect((await fetch(`${closing.url}/live/stream`, { headers: { cookie } })).status).toBe(503)
    await closing.close()
  })
})
