import { existsSync, readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { parseEnv } from 'node:util'

/** The variables that a command of this project sees: those that are set, before those of its `.env`. */
export function environmentOf(folder: string): NodeJS.ProcessEnv {
  const file = resolve(folder, '.env')
  return existsSync(file) ? { ...parseEnv(readFileSync(file, 'utf8')), ...process.env } : process.env
}
