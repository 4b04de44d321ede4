/** The table of connectors in the README counts what the connectors declare, and names what they were checked against. */
import { readdirSync, readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { expect, it } from 'vitest'
import type { AnyConnector } from '../../src/define/index.ts'

const ROOT = resolve(import.meta.dirname, '../..')
const versions = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as {
  readonly dependencies: Readonly<Record<string, string>>
  readonly devDependencies: Readonly<Record<string, string>>
}
const ours = { ...versions.dependencies, ...versions.devDependencies }

/** Cells of the row that links to this connector's README. */
function rowOf(name: string, readme: string): string[] {
  const row = readme
    .split('\n')
    .find((line) => line.startsWith('|') && line.includes(`connectors/${name}/README.md`))
  expect(row, `README.md has a row for ${name}`).toBeDefined()
  return row!
    .split('|')
    .slice(1, -1)
    .map((cell) => cell.trim())
}

async function connectorIn(name: string): Promise<AnyConnector> {
  const exported = (await import(`../../connectors/${name}/index.ts`)) as Record<string, unknown>
  const found = Object.values(exported).find(
    (value) => typeof value === 'object' && value !== null && 'operationsByName' in value,
  )
  return found as AnyConnector
}

/** `stripe 23.1.0` where that is a package of ours. */
const packagesIn = (cell: string): [string, string][] =>
  [...cell.matchAll(/([@a-z/_-]+) (\d+\.\d+\.\d+)/g)].map(([, name, version]) => [name!, version!])

it.each(readdirSync(join(ROOT, 'connectors')))('the row of %s is what it declares', async (name) => {
  const [, operations, events, , official] = rowOf(name, readFileSync(join(ROOT, 'README.md'), 'utf8'))
  const connector = await connectorIn(name)
  expect(Number(operations)).toBe(connector.operationsByName.size)
  expect(Number(events)).toBe(Object.keys(connector.events as object).length)
  for (const [client, version] of packagesIn(official!))
    expect([client, version]).toEqual([client, ours[client]])
})

it('versions of official clients are found in a cell', () => {
  expect(packagesIn('@hubspot/api-client 13.5.0 on 2026-11-22')).toEqual([['@hubspot/api-client', '13.5.0']])
  expect(packagesIn('@a/b_c 1.2.3')).toEqual([['@a/b_c', '1.2.3']])
})
