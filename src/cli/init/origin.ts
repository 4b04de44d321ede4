import { existsSync, readFileSync, realpathSync } from 'node:fs'
import { dirname, isAbsolute, join, relative, resolve, sep } from 'node:path'

/** What a new project writes into its package.json so that it gets the Trestle that made it. */
export interface Origin {
  /** Version or `file:` path, relative to the project. */
  readonly dependency: string
  /** Whether a project in this place finds Trestle already, without an `npm install` of its own. */
  readonly reachable: boolean
}

/**
 * Where this copy of Trestle came from: the registry (then its version is enough), a tarball or a folder. npm writes
 * that down beside what it installed (`node_modules/.package-lock.json`).
 */
export function originFor(
  project: string,
  at: { readonly packageFile: string; readonly version: string },
): Origin {
  const home = dirname(at.packageFile)
  const holder = modulesAbove(home)
  if (holder === undefined) return { dependency: pathTo(project, home), reachable: false }
  const reachable = isWithin(dirname(holder), project)
  const resolved = recordedOrigin(holder)
  if (resolved?.startsWith('file:'))
    return {
      dependency: pathTo(project, resolve(dirname(holder), resolved.slice('file:'.length))),
      reachable,
    }
  return { dependency: at.version, reachable }
}

/** The `node_modules` that the package lies in; undefined where it is a clone, or linked to one. */
function modulesAbove(home: string): string | undefined {
  const parent = dirname(home)
  return parent.endsWith(`${sep}node_modules`) ? parent : undefined
}

function recordedOrigin(modules: string): string | undefined {
  for (const file of [join(modules, '.package-lock.json'), join(dirname(modules), 'package-lock.json')]) {
    if (!existsSync(file)) continue
    const lock = JSON.parse(readFileSync(file, 'utf8')) as {
      packages?: Record<string, { resolved?: string } | undefined>
    }
    const resolved = lock.packages?.['node_modules/trestle']?.resolved
    if (resolved !== undefined) return resolved
  }
  return undefined
}

function pathTo(project: string, target: string): string {
  const path = relative(project, target).split(sep).join('/')
  return `file:${path.startsWith('.') || isAbsolute(path) ? path : `./${path}`}`
}

function isWithin(folder: string, path: string): boolean {
  const from = relative(realpathSync(folder), path)
  return from !== '' && !from.startsWith('..') && !isAbsolute(from)
}
