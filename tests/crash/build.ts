import { execFile } from 'node:child_process'
import { rmSync } from 'node:fs'
import { mkdir, mkdtemp, readdir, rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { isProcessAlive } from '../../src/db/embedded/processes.ts'

const ROOT = fileURLToPath(new URL('../../', import.meta.url))
/** Within `node_modules`, so that what is compiled finds the packages. */
const CACHE = join(ROOT, 'node_modules', '.cache')
const PREFIX = 'trestle-entries-'

/**
 * Compiles the sources as they are now, unchecked, and gives the folder with the entries of the child processes: Node
 * 20 runs no TypeScript, and what `npm run build` left may be older than what is to be tested. The folder is this
 * process's own and ends with it: a child must not read a file that another test is writing anew.
 */
export async function compileEntries(): Promise<string> {
  await mkdir(CACHE, { recursive: true })
  await removeLeftovers()
  const outDir = await mkdtemp(join(CACHE, `${PREFIX}${process.pid}-`))
  process.once('exit', () => rmSync(outDir, { recursive: true, force: true }))
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

/** What is left of processes that were killed. */
async function removeLeftovers(): Promise<void> {
  for (const name of await readdir(CACHE)) {
    const pid = new RegExp(`^${PREFIX}(\\d+)-`).exec(name)?.[1]
    if (pid !== undefined && !isProcessAlive(Number(pid)))
      await rm(join(CACHE, name), { recursive: true, force: true }).catch(() => undefined)
  }
}
