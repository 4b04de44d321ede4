import type { IncomingMessage } from 'node:http'
import { parseJson, systemRandom } from '../base/index.ts'
import { createInbox } from '../inbox/index.ts'
import { writeEntries, type Actor } from '../ledger/index.ts'
import { rotateCredential, testConnection } from '../runtime/index.ts'
import { apiRoutes, writeJson, type AnyRoute } from '../server/index.ts'
import { ALL_RIGHTS } from '../vault/index.ts'
import type { Session } from './session.ts'

/** What is asked of a route. */
export interface Asked {
  readonly params?: Readonly<Record<string, string>>
  /** Members that are `undefined` are left out. */
  readonly query?: Readonly<Record<string, string | number | readonly string[] | undefined>>
  /** JSON; routes check it as if it had come over HTTP. */
  readonly body?: unknown
  /** A body that the route reads itself. */
  readonly raw?: { readonly contentType: string; readonly bytes: Buffer }
}

export interface Answer {
  /** What `--json` prints. */
  readonly json: string
  /** The same, read losslessly. */
  readonly value: unknown
}

/**
 * The HTTP API's own routes, answered in this process on the database: no server is needed, and a command says what
 * the API says. Errors are thrown as the routes throw them.
 */
export interface LocalApi {
  get(path: string, asked?: Asked): Promise<Answer>
  post(path: string, asked?: Asked): Promise<Answer>
}

/** The routes over an open installation; what is done is done by `actor`, who may all that there is. */
export function createLocalApi(session: Session, actor: Actor, tenant = session.tenant): LocalApi {
  const routes = apiRoutes(depsOf(session))
  const ask = async (method: AnyRoute['method'], path: string, asked: Asked = {}): Promise<Answer> => {
    const route = routes.find((one) => one.method === method && one.path === path)
    if (!route) throw new TypeError(`There is no route ${method} ${path}.`)
    const given = Object.entries(asked.query ?? {}).filter(([, value]) => value !== undefined)
    const result: unknown = await route.answer({
      params: asked.params ?? {},
      query: route.query?.parse(Object.fromEntries(given)) ?? {},
      body: route.body?.schema.parse(asked.body ?? {}),
      caller: { tenant, actor, rights: ALL_RIGHTS },
      raw: {
        ...(asked.raw ?? { contentType: '', bytes: Buffer.alloc(0) }),
        // Nothing came over HTTP: there are no headers.
        request: { headers: {}, rawHeaders: [] as string[] } as IncomingMessage,
      },
    })
    const json = writeJson(result)
    return { json, value: parseJson(json) }
  }
  return {
    get: (path, asked) => ask('get', path, asked),
    post: (path, asked) => ask('post', path, asked),
  }
}

function depsOf({ installation, clock, tenant }: Session): Parameters<typeof apiRoutes>[0] {
  const { database, flows, dispatch, config } = installation
  return {
    ...installation,
    clock,
    random: systemRandom,
    tenant,
    inbox: createInbox({
      database,
      clock,
      flows,
      writeEntries,
      wake: (client, runs) => dispatch.wake(client, runs),
    }),
    publicUrl: () => config.publicUrl ?? 'http://localhost:3000',
    testConnection: (tenant, name) => testConnection(installation, tenant, name),
    rotateCredential: (tenant, name, wish, actor) =>
      rotateCredential(installation, tenant, name, wish, actor),
  }
}
