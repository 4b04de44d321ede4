import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'

/** The folder of the package itself, wherever it is installed. */
export function packageFile(): string {
  return createRequire(import.meta.url).resolve('trestle/package.json')
}

export function version(): string {
  return (JSON.parse(readFileSync(packageFile(), 'utf8')) as { version: string }).version
}
