import { stat, statfs } from 'node:fs/promises'
import { resolve } from 'node:path'
import { codeOf, reasonOf, systemRandom } from '../../base/index.ts'
import { readMasterKey } from '../../vault/index.ts'
import { version } from '../version.ts'
import { fail, ok, warn, type Finding } from './findings.ts'

const OLDEST_NODE = [20, 19] as const
const LOW_DISK_BYTES = 1_000_000_000

/** Node and Trestle. */
export function lookAtVersions(nodeVersion: string): readonly Finding[] {
  const [major = 0, minor = 0] = nodeVersion.replace(/^v/, '').split('.').map(Number)
  const old = major < OLDEST_NODE[0] || (major === OLDEST_NODE[0] && minor < OLDEST_NODE[1])
  return [
    ok('Trestle', version()),
    old
      ? fail('Node', nodeVersion, `Install Node ${OLDEST_NODE.join('.')} or newer.`)
      : ok('Node', nodeVersion),
  ]
}

/** The master key, without making one. */
export async function lookAtMasterKey(folder: string, environment: NodeJS.ProcessEnv): Promise<Finding> {
  const file = resolve(folder, '.trestle', 'master.key')
  try {
    const { from } = await readMasterKey({
      value: environment['TRESTLE_MASTER_KEY'],
      file,
      mayGenerate: false,
      random: systemRandom,
    })
    return ok('Master key', from === 'environment' ? 'from TRESTLE_MASTER_KEY' : file)
  } catch (error) {
    if (codeOf(error, '') === 'master_key_missing')
      return fail(
        'Master key',
        'there is none',
        'Developing: run "trestle dev" once, it makes one. On a server: set TRESTLE_MASTER_KEY to what "openssl rand -base64 32" prints, and keep a copy.',
      )
    return fail('Master key', 'it cannot be used', reasonOf(error))
  }
}

/** Files that hold secrets, and must be this user's alone. */
export async function lookAtFiles(folder: string): Promise<readonly Finding[]> {
  if (process.platform === 'win32') return [] // It keeps no such bits.
  const findings: Finding[] = []
  for (const name of ['.env', '.trestle']) {
    const path = resolve(folder, name)
    const found = await stat(path).catch(() => undefined)
    if (found === undefined) continue
    const mode = (found.mode & 0o777).toString(8)
    // The folder holds files that are closed by themselves; only writing into it must be its owner's.
    const open = found.isDirectory() ? found.mode & 0o022 : found.mode & 0o077
    findings.push(
      open === 0
        ? ok(name, `mode ${mode}`)
        : warn(
            name,
            `mode ${mode}: other users can ${found.isDirectory() ? 'write into' : 'read'} it`,
            `chmod ${found.isDirectory() ? '700' : '600'} ${path}`,
          ),
    )
  }
  return findings
}

/** Room on the disk that the embedded database is on. */
export async function lookAtDisk(folder: string): Promise<Finding> {
  const { bavail, bsize } = await statfs(folder)
  const free = bavail * bsize
  const words = `${(free / 1e9).toFixed(1)} GB free`
  return free < LOW_DISK_BYTES
    ? warn('Disk', words, 'Make room: a database that cannot write refuses deliveries.')
    : ok('Disk', words)
}
