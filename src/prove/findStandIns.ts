import { existsSync } from 'node:fs'
import { resolve } from 'node:path'
import { UsageError } from '../base/index.ts'
import type { Config } from '../define/index.ts'
import { importFile } from '../runtime/index.ts'
import type { CreateStandIn } from './standIn.ts'

/** What `trestle.prove.ts` exports as its default: stand-ins by the names of connections. They go before ours. */
export interface ProofSetup {
  readonly standIns?: Readonly<Record<string, CreateStandIn | undefined>>
}

const NAMES = ['trestle.prove.ts', 'trestle.prove.mts', 'trestle.prove.js', 'trestle.prove.mjs']

/** Who stands in for each connection: what the project says, else what Trestle's own connector brings. */
export async function findStandIns(
  config: Config,
  folder: string,
): Promise<{ readonly makers: ReadonlyMap<string, CreateStandIn>; readonly missing: readonly string[] }> {
  const { standIns = {} } = await loadSetup(folder)
  const unknown = Object.keys(standIns).find((name) => config.connections[name] === undefined)
  if (unknown !== undefined)
    throw new UsageError(
      'stand_in_unknown',
      `trestle.prove.ts has a stand-in for "${unknown}", which is no connection. There are: ${Object.keys(config.connections).join(', ')}.`,
    )
  const makers = new Map<string, CreateStandIn>()
  const missing: string[] = []
  for (const [name, { connector }] of Object.entries(config.connections)) {
    const create = standIns[name] ?? (await ownStandIn(connector.name))
    if (create) makers.set(name, create)
    else missing.push(name)
  }
  return { makers, missing }
}

/** By the public name that users could import, too: production code knows no twin. */
async function ownStandIn(connector: string): Promise<CreateStandIn | undefined> {
  const specifier = `trestle/connectors/${connector}/stand-in`
  try {
    return ((await import(specifier)) as { createStandIn?: CreateStandIn }).createStandIn
  } catch (error) {
    const { code } = error as { code?: unknown }
    if (code === 'ERR_MODULE_NOT_FOUND' || code === 'ERR_PACKAGE_PATH_NOT_EXPORTED') return undefined
    throw error
  }
}

async function loadSetup(folder: string): Promise<ProofSetup> {
  const file = NAMES.map((name) => resolve(folder, name)).find((candidate) => existsSync(candidate))
  if (file === undefined) return {}
  const { default: setup } = (await importFile(file)) as { default?: ProofSetup }
  if (setup === undefined || typeof setup !== 'object')
    throw new UsageError(
      'stand_in_invalid',
      `${file}: it has no default export. Write: export default { standIns: { crm: createStandIn } }`,
    )
  return setup
}
