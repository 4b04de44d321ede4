import { readFile } from 'node:fs/promises'
import { PermanentError } from '../../base/index.ts'

/** The system user under which the server runs. */
export interface Account {
  readonly uid: number
  readonly gid: number
}

/** What {@link chooseAccount} decides from. */
export interface AccountFacts {
  readonly platform: NodeJS.Platform
  /** Our own user; undefined where there are no uids (Windows). */
  readonly uid: number | undefined
  /** Who owns the data, if there is some. */
  readonly dataOwner: Account | undefined
  /** The text of /etc/passwd; '' if there is none. */
  readonly passwd: string
}

/** Users that a machine usually has and that own nothing of value to the server, in the order of preference. */
const CANDIDATES = ['postgres', 'nobody']

/**
 * Who runs the server; undefined means this process's own user. PostgreSQL refuses to run as root, so root drops
 * to the owner of the data, else to `postgres`, else to `nobody`. The user must stand in the password file, since
 * initdb asks for its name. Throws a {@link PermanentError} where no user will do.
 */
export function chooseAccount(facts: AccountFacts): Account | undefined {
  const { uid, dataOwner } = facts
  if (uid === undefined) return undefined
  if (uid !== 0) {
    if (dataOwner !== undefined && dataOwner.uid !== uid) throw belongsToAnother(dataOwner.uid, facts.passwd)
    return undefined
  }
  if (facts.platform !== 'linux') {
    throw new PermanentError(
      'embedded_postgres_account',
      'As root the embedded PostgreSQL runs on Linux only. Start Trestle as an ordinary user, or set DATABASE_URL.',
    )
  }
  if (dataOwner !== undefined && dataOwner.uid !== 0) return dataOwner
  for (const name of CANDIDATES) {
    const account = findAccount(facts.passwd, name)
    if (account) return account
  }
  throw new PermanentError(
    'embedded_postgres_account',
    'PostgreSQL refuses to run as root, and this machine has neither a user "postgres" nor a user "nobody". ' +
      'Add one (useradd --system postgres), start Trestle as an ordinary user, or set DATABASE_URL.',
  )
}

function findAccount(passwd: string, name: string): Account | undefined {
  const line = passwd.split('\n').find((line) => line.startsWith(`${name}:`))
  const [, , uid, gid] = line?.split(':') ?? []
  const account = { uid: Number(uid), gid: Number(gid) }
  return Number.isSafeInteger(account.uid) && account.uid > 0 && Number.isSafeInteger(account.gid)
    ? account
    : undefined
}

function belongsToAnother(owner: number, passwd: string): PermanentError {
  const name = passwd.split('\n').find((line) => line.split(':')[2] === String(owner))
  return new PermanentError(
    'embedded_postgres_account',
    `The embedded PostgreSQL's data belongs to the user ${name?.split(':')[0] ?? owner}, probably because Trestle was started ` +
      'as root before. Start it as root again, give the folder to yourself (sudo chown -R), or remove it to begin anew.',
  )
}

/** The password file of this machine; '' if there is none. */
export function readPasswd(): Promise<string> {
  return readFile('/etc/passwd', 'utf8').catch(() => '')
}
