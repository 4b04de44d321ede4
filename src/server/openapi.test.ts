import { createConfig, lintFromString } from '@redocly/openapi-core'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { SCOPES, type Scope } from '../vault/index.ts'
import { apiRoutes } from './index.ts'
import { openServer, type ServerFixture } from './server.fixture.ts'

let server: ServerFixture
beforeAll(async () => {
  server = await openServer({ idle: true })
})
afterAll(() => server.close())

interface Document {
  openapi: string
  servers: { url: string }[]
  paths: Record<
    string,
    Record<
      string,
      {
        operationId: string
        description: string
        security: { token: [Scope] }[]
        'x-trestle-needs': unknown
        responses: object
        parameters: { in: string }[]
      }
    >
  >
}

async function problemsOf(source: string): Promise<string[]> {
  const config = await createConfig({ extends: ['recommended'] })
  const problems = await lintFromString({ source, absoluteRef: 'openapi.json', config })
  return problems
    .filter(({ severity }) => severity === 'error')
    .map(({ message, location }) => `${location[0]?.pointer}: ${message}`)
}

describe('the OpenAPI document', () => {
  it('is valid OpenAPI 3.1', async () => {
    const { text, json } = await server.get('/api/v1/openapi.json')
    expect((json as Document).openapi).toBe('3.1.0')
    expect((json as Document).servers).toEqual([{ url: server.url }])
    expect(await problemsOf(text)).toEqual([])
  })

  it('control: what is not valid is noticed', async () => {
    const document = JSON.parse((await server.get('/api/v1/openapi.json')).text) as Document
    document.paths['/api/v1/runs']!['get']!.parameters[0]!.in = 'nowhere'
    expect(await problemsOf(JSON.stringify(document))).toEqual([expect.stringContaining('/parameters/0/in')])
  })

  it('has every route of the API, with its own name and a token', async () => {
    const { paths } = (await server.get('/api/v1/openapi.json')).json as Document
    const described = Object.entries(paths).flatMap(([path, methods]) =>
      Object.entries(methods).map(([method, operation]) => ({ route: `${method} ${path}`, operation })),
    )
    expect(described.map(({ route }) => route).toSorted()).toEqual(
      apiRoutes(server.deps)
        .map(({ method, path }) => `${method} /api/v1${path}`)
        .toSorted(),
    )
    expect(new Set(described.map(({ operation }) => operation.operationId)).size).toBe(described.length)
    for (const { operation } of described) {
      expect(Object.keys(operation.responses)).toEqual(
        expect.arrayContaining(['400', '401', '403', '413', '503']),
      )
      const scope = operation.security[0]!.token[0]
      const { role } = SCOPES[scope]
      expect(operation['x-trestle-needs']).toEqual({ scope, role })
      expect(operation.description).toContain(`Needs the scope \`${scope}\`: the role ${role}`)
    }
  })
})
