import { execFile } from 'node:child_process'
import { mkdir, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

const ROOT = fileURLToPath(new URL('../../', import.meta.url))

/**
 * Compiles the sources as they are now, unchecked, and gives the folder with the entries of the child processes: Node
 * 20 runs no TypeScript, and what `npm run build` left may be older than what is to be tested.
 */
export async function compileEntries(): Promise<string> {
  const outDir = join(ROOT, 'node_modules', '.cache', 'trestle-crash')
  await mkdir(outDir, { recursive: true })
  await writeFile(
    join(outDir, 'package.json'),
    // Connectors import the package by its name.
    '{ "name": "trestle", "version": "0.0.0", "type": "module", "exports": { ".": "./src/index.js", "./package.json": "./package.json" } }\n',
  )
  const tsc = join(ROOT, 'node_modules', 'typescript', 'bin', 'tsc')
  const args = [
    tsc,
    '-p',
    join(ROOT, 'tsconfig.build.json'),
    '--noCheck',
    '--declaration',
    'false',
    '--outDir',
    outDir,
  ]
  const said = await promisify(execFile)(process.execPath, args).catch((error: { stdout?: string }) => error)
  const entries = join(outDir, 'tests', 'crash')
  await stat(join(entries, 'node.js')).catch(() => {
    throw new Error(`The crash tests could not be compiled: ${said.stdout ?? ''}`)
  })
  return entries
}
