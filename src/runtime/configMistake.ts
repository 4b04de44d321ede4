import { readdirSync } from 'node:fs'
import { dirname, sep } from 'node:path'
import { reasonOf, TrestleError, UsageError } from '../base/index.ts'

/** What went wrong while the author's configuration was read, with file and line and what to write instead. */
export function configMistake(error: unknown, file: string): UsageError {
  const code = error instanceof TrestleError ? error.code : 'config_invalid'
  return new UsageError(code, `${placeOf(error, file)}: ${wordsOf(error)}`, { cause: error })
}

/** `file:line` of the author's own code in the error's message or stack, else the configuration's file. */
function placeOf(error: unknown, file: string): string {
  const text = error instanceof Error ? `${error.message}\n${error.stack ?? ''}` : ''
  const folder = `${dirname(file)}${sep}`.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')
  for (const [, path = '', line] of text.matchAll(
    new RegExp(`(${folder}[^\\n():]+\\.[cm]?[jt]s):(\\d+)`, 'g'),
  ))
    if (!path.includes(`${sep}node_modules${sep}`)) return `${path}:${line}`
  return file
}

function wordsOf(error: unknown): string {
  if (error instanceof TrestleError) return reasonOf(error)
  const reason = reasonOf(error).split('\n')[0]!.trim()
  const missing = /Cannot find (?:module|package) '([^']+)'/.exec(reason)?.[1]
  if (missing !== undefined) return missingWords(missing)
  if (error instanceof ReferenceError) return `${reason}. Import it, or correct its name.`
  return /^(ParseError|SyntaxError)/.test(reason) || error instanceof SyntaxError
    ? `This is no TypeScript: ${reason.replace(/^\w+Error: /, '')}`
    : reason
}

function missingWords(name: string): string {
  const connector = /trestle\/(?:dist\/)?connectors\/([^/']+)/.exec(name)?.[1]
  if (connector !== undefined)
    return `It imports the connector "${connector}", which Trestle does not have. It has: ${connectorNames().join(', ')}.`
  if (/^(\.|\/|[A-Za-z]:\\)/.test(name))
    return `It imports '${name}', which is not there. Write the path of a file that is, with its ending, such as './flows/first-flow.ts'.`
  const packageName = name
    .split('/')
    .slice(0, name.startsWith('@') ? 2 : 1)
    .join('/')
  return `It imports '${name}', which is not installed here. Run "npm install"; if package.json does not have it yet, "npm install ${packageName}".`
}

/** Connectors that come with this package. */
function connectorNames(): string[] {
  return readdirSync(new URL('../../connectors', import.meta.url), { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map((entry) => entry.name)
    .sort()
}
