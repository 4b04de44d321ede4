import { request } from 'undici'

export interface Page {
  readonly url: string
  readonly status: number
  readonly text: string
  readonly headers: Readonly<Record<string, string | string[] | undefined>>
}

interface Cookie {
  readonly value: string
  readonly path: string
  readonly attributes: string
}

/** A browser over real HTTP: it keeps cookies by host and path, and follows redirects while it is told to. */
export class Browser {
  readonly #cookies = new Map<string, Cookie>()

  /** One request, and where it leads to is only told. */
  async go(url: string, form?: Readonly<Record<string, string>>): Promise<Page> {
    const at = new URL(url)
    const cookie = this.cookiesFor(at)
    const answer = await request(url, {
      method: form ? 'POST' : 'GET',
      headers: {
        ...(cookie === '' ? {} : { cookie }),
        ...(form ? { 'content-type': 'application/x-www-form-urlencoded' } : {}),
      },
      ...(form ? { body: new URLSearchParams(form).toString() } : {}),
    })
    this.#keep(at, [answer.headers['set-cookie'] ?? []].flat())
    return { url, status: answer.statusCode, text: await answer.body.text(), headers: answer.headers }
  }

  /** Follows redirects to the end, or to the first address for which `until` says so, which is not asked then. */
  async follow(url: string, until: (url: string) => boolean = () => false): Promise<Page> {
    let page = await this.go(url)
    for (let hops = 0; hops < 20; hops++) {
      const next = locationOf(page)
      if (next === undefined) return page
      if (until(next)) return { ...page, url: next }
      page = await this.go(next)
    }
    throw new Error(`${url} redirects without end`)
  }

  cookiesFor(at: URL): string {
    return [...this.#cookies]
      .filter(([key, { path }]) => key.startsWith(`${at.hostname} `) && at.pathname.startsWith(path))
      .map(([key, { value }]) => `${key.slice(at.hostname.length + 1)}=${value}`)
      .join('; ')
  }

  /** What was said with a cookie when it was set. */
  attributesOf(prefix: string): string | undefined {
    for (const [key, { attributes }] of this.#cookies) if (key.includes(` ${prefix}`)) return attributes
    return undefined
  }

  #keep(at: URL, headers: readonly string[]): void {
    for (const header of headers) {
      const [pair = '', ...attributes] = header.split(/;\s*/)
      const [name, value] = [pair.slice(0, pair.indexOf('=')), pair.slice(pair.indexOf('=') + 1)]
      const path = attributes.find((one) => /^path=/i.test(one))?.slice(5) ?? '/'
      const key = `${at.hostname} ${name}`
      if (value === '') this.#cookies.delete(key)
      else this.#cookies.set(key, { value, path, attributes: attributes.join('; ') })
    }
  }
}

export function locationOf(page: Page): string | undefined {
  const { location } = page.headers
  return typeof location === 'string' ? new URL(location, page.url).href : undefined
}
