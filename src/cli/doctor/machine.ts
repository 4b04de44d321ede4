import { readFile, statfs } from 'node:fs/promises'
import { resolve } from 'node:path'
import { codeOf, reasonOf, systemRandom } from '../../base/index.ts'
import { readMasterKey, weaknessOfKey } from '../../vault/index.ts'
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
      previous: environment['TRESTLE_MASTER_KEY_PREVIOUS'],
      file,
      mayGenerate: false,
      random: systemRandom,
    })
    const text = from === 'environment' ? environment['TRESTLE_MASTER_KEY']! : await readFile(file, 'utf8')
    return keyFinding(from === 'environment' ? 'TRESTLE_MASTER_KEY' : file, weaknessOfKey(text))
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

function keyFinding(where: string, weakness: string | undefined): Finding {
  return weakness === undefined
    ? ok('Master key', `from ${where}`)
    : warn(
        'Master key',
        `${where} ${weakness}`,
        'Make a random one with: openssl rand -base64 32. What was sealed under this one opens under this one alone, so keep it until nothing is.',
      )
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
