/** The platform's HTTP API, as a program of the business would use it. */
export interface Api {
  get<Answer>(path: string, query?: Readonly<Record<string, string>>): Promise<Answer>
  post<Answer>(path: string): Promise<Answer>
  /** All items of a listing, oldest first. */
  all<Item>(path: string, query?: Readonly<Record<string, string>>): Promise<readonly Item[]>
  /** Gives, at each call, the items of a listing that were committed since the last one. */
  follow<Item>(path: string): () => Promise<readonly Item[]>
}

export interface ApiEvent {
  readonly id: string
  readonly type: string
  readonly summary: string | null
  readonly state: 'dispatched' | 'unmatched' | 'quarantined' | 'discarded'
  readonly reason: string | null
  readonly reasonPath: string | null
  readonly connection: string | null
}

export interface ApiRun {
  readonly id: string
  readonly flow: string
  readonly state: string
  readonly reason: string | null
  readonly event: { readonly id: string; readonly summary: string | null; readonly connection: string | null }
}

export interface ApiQuarantined {
  readonly id: string
  readonly kind: 'event' | 'answer'
  readonly runId: string | null
  readonly path: string
  readonly reason: string
}

export interface ApiLedgerEntry {
  readonly id: string
  readonly action: string
  readonly runId: string | null
  readonly detail?: unknown
}

interface Page {
  readonly items: readonly unknown[]
  readonly next: string | null
  readonly more: boolean
}

const PAGE = { limit: '200', order: 'oldest_first' }

export function connectToApi(url: string, token: string): Api {
  const ask = async <Answer>(
    method: 'GET' | 'POST',
    path: string,
    query: Readonly<Record<string, string>>,
  ) => {
    const target = new URL(`${url}/api/v1${path}`)
    for (const [name, value] of Object.entries(query)) target.searchParams.set(name, value)
    const answer = await fetch(target, { method, headers: { authorization: `Bearer ${token}` } })
    if (!answer.ok) throw new Error(`${method} ${target.pathname}: ${answer.status} ${await answer.text()}`)
    return (await answer.json()) as Answer
  }
  const since = async (
    path: string,
    query: Readonly<Record<string, string>>,
    from: string | null,
  ): Promise<{ items: unknown[]; next: string | null }> => {
    const items: unknown[] = []
    let next = from
    for (let more = true; more;) {
      const page: Page = await ask('GET', path, {
        ...PAGE,
        ...query,
        ...(next === null ? {} : { cursor: next }),
      })
      items.push(...page.items)
      next = page.next ?? next
      more = page.more
    }
    return { items, next }
  }
  return {
    get: (path, query = {}) => ask('GET', path, query),
    post: (path) => ask('POST', path, {}),
    all: async <Item>(path: string, query: Readonly<Record<string, string>> = {}) =>
      (await since(path, query, null)).items as Item[],
    follow: <Item>(path: string) => {
      let next: string | null = null
      return async () => {
        const page = await since(path, {}, next)
        next = page.next
        return page.items as Item[]
      }
    },
  }
}
