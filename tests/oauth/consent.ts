import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import Provider from 'oidc-provider'
import { locationOf, type Browser, type Page } from './browser.ts'

export interface ConsentServer {
  readonly url: string
  /** Begins, for a client with these redirect URIs. */
  serve(redirectUris: readonly string[]): void
  /** Questions to the token endpoint, as their forms. */
  readonly questions: readonly Readonly<Record<string, string>>[]
  /** Whether its API takes this token. */
  isGood(accessToken: string): Promise<boolean>
  /** What the API answers at this path, as JSON. */
  readonly api: Map<string, unknown>
  /** A person signs in and agrees; gives the address of the callback, which was not asked yet. */
  agree(browser: Browser, consentUrl: string): Promise<string>
  /** A person comes so far and says no. */
  refuse(browser: Browser, consentUrl: string): Promise<string>
  close(): Promise<void>
}

export const CLIENT = { id: 'trestle', secret: 'a-secret-of-the-test-client' }

/** A real authorization server in this process: PKCE is required, it says who it is (RFC 9207), it revokes (RFC 7009). */
export async function openConsentServer(): Promise<ConsentServer> {
  const questions: Record<string, string>[] = []
  const api = new Map<string, unknown>()
  const server = createServer((request, response) => {
    const { pathname } = new URL(request.url!, 'http://x')
    if (api.has(pathname)) {
      const good = isGood((request.headers.authorization ?? '').replace(/^\S+ /, ''))
      return void good.then((yes) =>
        response
          .writeHead(yes ? 200 : 401, { 'content-type': 'application/json' })
          .end(JSON.stringify(yes ? api.get(pathname) : { error: 'invalid_token' })),
      )
    }
    return answer(request, response)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  let provider: Provider | undefined
  let answer: ReturnType<Provider['callback']> = (_, response) => response.writeHead(503).end()

  function serve(redirectUris: readonly string[]): void {
    provider = new Provider(url, {
      clients: [
        {
          client_id: CLIENT.id,
          client_secret: CLIENT.secret,
          grant_types: ['authorization_code', 'refresh_token'],
          redirect_uris: [...redirectUris],
          token_endpoint_auth_method: 'client_secret_basic',
        },
      ],
      features: { revocation: { enabled: true } },
      pkce: { required: () => true },
      rotateRefreshToken: true,
      ttl: {
        AccessToken: 3600,
        RefreshToken: 86_400,
        Grant: 86_400,
        IdToken: 3600,
        Session: 3600,
        Interaction: 600,
      },
      cookies: { keys: ['test'] },
    })
    answer = provider.callback()
    for (const event of ['grant.success', 'grant.error'])
      provider.on(event, (context) => {
        const { body = {} } = (context as { oidc: { body?: Record<string, string> } }).oidc
        questions.push(body)
      })
  }

  async function isGood(token: string): Promise<boolean> {
    return token !== '' && (await provider?.AccessToken.find(token)) !== undefined
  }

  /** Goes through the pages to sign in and to agree. */
  async function through(browser: Browser, consentUrl: string, agrees: boolean): Promise<string> {
    const isBack = (next: string): boolean => !next.startsWith(url)
    let page: Page = await browser.follow(consentUrl, isBack)
    for (let pages = 0; pages < 5 && !isBack(page.url); pages++) {
      const action = /<form[^>]*action="([^"]+)"/.exec(page.text)?.[1]
      const prompt = /name="prompt" value="(\w+)"/.exec(page.text)?.[1]
      if (action === undefined || prompt === undefined)
        throw new Error(`no form: ${page.status} ${page.text}`)
      const next = agrees
        ? locationOf(
            await browser.go(new URL(action, page.url).href, { prompt, login: 'ada', password: 'x' }),
          )
        : `${new URL(action, page.url).href}/abort`
      page = await browser.follow(next!, isBack)
    }
    return page.url
  }

  return {
    url,
    serve,
    questions,
    api,
    isGood,
    agree: (browser, consentUrl) => through(browser, consentUrl, true),
    refuse: (browser, consentUrl) => through(browser, consentUrl, false),
    async close() {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}
