import { UsageError } from '../../base/index.ts'

/**
 * The server's settings. Nothing that makes a commit durable is loosened: fsync, full_page_writes and
 * synchronous_commit stay on. The log holds no statements and no row values, since those may be personal data.
 */
const SETTINGS: Readonly<Record<string, string>> = {
  listen_addresses: '127.0.0.1',
  unix_socket_directories: '',
  max_connections: '100',
  shared_buffers: '128MB',
  fsync: 'on',
  full_page_writes: 'on',
  synchronous_commit: 'on',
  password_encryption: 'scram-sha-256',
  timezone: 'UTC',
  log_timezone: 'UTC',
  lc_messages: 'C',
  log_min_messages: 'warning',
  log_error_verbosity: 'terse',
  log_min_error_statement: 'panic',
  log_checkpoints: 'off',
}

/** postgresql.conf with our settings and those of the caller, which win. */
export function configuration(settings: Readonly<Record<string, string>> = {}): string {
  const lines = Object.entries({ ...SETTINGS, ...settings }).map(([name, value]) => {
    if (!/^[a-z_][a-z0-9_.]*$/i.test(name) || /[\r\n\0]/.test(value)) {
      throw new UsageError(
        'embedded_postgres_setting',
        `"${name}" = ${JSON.stringify(value)} is not a setting of PostgreSQL. Write for example { work_mem: '16MB' }.`,
      )
    }
    return `${name} = '${value.replaceAll('\\', '\\\\').replaceAll("'", "''")}'`
  })
  return `# Written by Trestle at every start of the embedded PostgreSQL: changes made here are lost.\n${lines.join('\n')}\n`
}

const PORTS_FROM = 20_000
const PORTS = 10_000

/**
 * The ports to try, best first: the one of the last start, then some that follow from the folder's path, so that
 * it keeps its port as long as nobody takes it. All lie below the range from which systems give ports to
 * outgoing connections (Linux 32768, IANA 49152).
 */
export function portsToTry(home: string, remembered: number | undefined): number[] {
  let hash = 0
  for (const character of home) hash = (hash * 31 + character.codePointAt(0)!) % PORTS
  const derived = Array.from({ length: 50 }, (_, i) => PORTS_FROM + ((hash + i * 97) % PORTS))
  return remembered === undefined ? derived : [remembered, ...derived]
}
