import { existsSync } from 'node:fs'
import { resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { createJiti } from 'jiti'
import { UsageError } from '../base/index.ts'
import { defineConfig, type Config } from '../define/index.ts'
import { configMistake } from './configMistake.ts'

export interface LoadedConfig {
  readonly config: Config
  /** The file that it was read from. */
  readonly file: string
  /** The folder that relative paths, `.env` and `.trestle/` belong to. */
  readonly folder: string
}

const NAMES = ['trestle.config.ts', 'trestle.config.mts', 'trestle.config.js', 'trestle.config.mjs']

/**
 * Reads `trestle.config.ts` of a folder (or the file named), and the variables of `.env` beside it; variables that
 * are set already win. Throws a {@link UsageError} with file, line and what to write instead.
 */
export async function loadConfig(folder: string, name?: string): Promise<LoadedConfig> {
  const file = findConfig(folder, name)
  loadEnvironment(folder)
  let exported: unknown
  try {
    exported = await importFile(file)
  } catch (error) {
    throw configMistake(error, file)
  }
  const config = (exported as { default?: unknown }).default as Config | undefined
  // jiti gives all exports where there is no default one.
  if (config === undefined || config === null || typeof config !== 'object' || !('connections' in config))
    throw new UsageError(
      'config_invalid',
      `${file}: it has no default export. Write: export default defineConfig({ connections: { … }, flows: [ … ] })`,
    )
  // Checked again, in case defineConfig was left out.
  return { config: config.isConfig === true ? config : checked(config, file), file, folder }
}

/** The configuration's file. Throws `config_missing` where there is none. */
export function findConfig(folder: string, name?: string): string {
  const candidates = name === undefined ? NAMES : [name]
  const file = candidates
    .map((candidate) => resolve(folder, candidate))
    .find((candidate) => existsSync(candidate))
  if (file !== undefined) return file
  throw new UsageError(
    'config_missing',
    `There is no ${name ?? 'trestle.config.ts'} in ${resolve(folder)}. Make a project with: trestle init my-project`,
  )
}

function loadEnvironment(folder: string): void {
  const file = resolve(folder, '.env')
  if (existsSync(file)) process.loadEnvFile(file)
}

/** Imports a file of the project. Node itself where it strips types (22.18 and newer), else jiti. */
export async function importFile(file: string): Promise<unknown> {
  if (!file.endsWith('ts') || (process.features as { typescript?: unknown }).typescript)
    return import(pathToFileURL(file).href)
  return createJiti(import.meta.url, { fsCache: false, moduleCache: true }).import(file)
}

function checked(config: Config, file: string): Config {
  try {
    return defineConfig(config)
  } catch (error) {
    throw configMistake(error, file)
  }
}
