import { spawn, spawnSync } from 'node:child_process'
import {
  chmodSync,
  chownSync,
  copyFileSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  writeFileSync,
  mkdirSync,
} from 'node:fs'
import { rm } from 'node:fs/promises'
import { createServer, type AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { pause, SECOND, systemClock } from '../../src/base/index.ts'

/** An Exim of our own: TLS with the tests' certificate, one login, two people who have a mailbox. */
export interface Exim {
  readonly port: number
  readonly login: { readonly username: string; readonly password: string }
  /** Mails in the mailbox, once it has this many. */
  delivered(count: number): Promise<readonly string[]>
  stop(): Promise<void>
}

/** Why it cannot run here; `undefined` where it can. */
export function whyNoExim(): string | undefined {
  if (spawnSync('exim4', ['-bV']).status !== 0)
    return 'exim4 is not installed: apt-get install exim4-daemon-light'
  return process.getuid?.() === 0 ? undefined : 'exim4 takes a configuration of its own only from root'
}

const LOGIN = { username: 'trestle', password: 'open sesame' }
const LIMIT_MS = 150 * SECOND
/** Exim delivers to nobody's files as root. */
const NOBODY = 65_534

export async function startExim(): Promise<Exim> {
  const folder = mkdtempSync(join(tmpdir(), 'trestle-exim-'))
  chmodSync(folder, 0o755)
  const mailbox = join(folder, 'mailbox')
  mkdirSync(mailbox)
  chownSync(mailbox, NOBODY, NOBODY)
  for (const file of ['localhost-cert.pem', 'localhost-key.pem'])
    copyFileSync(
      fileURLToPath(new URL(`../../src/egress/fixtures/${file}`, import.meta.url)),
      join(folder, file),
    )
  const port = await freePort()
  writeFileSync(join(folder, 'exim.conf'), configuration(folder, mailbox, port))
  const child = spawn('exim4', ['-C', join(folder, 'exim.conf'), '-bdf'], { stdio: 'ignore' })
  const ended = new Promise((resolve) => child.once('exit', resolve))
  await untilTrue(() => readable(join(folder, 'log-main')).includes('listening for SMTP'))
  return {
    port,
    login: LOGIN,
    async delivered(count) {
      await untilTrue(
        () =>
          readdirSync(mailbox).length >= count && readable(join(folder, 'log-main')).includes('Completed'),
      )
      return readdirSync(mailbox).map((name) => readFileSync(join(mailbox, name), 'utf8'))
    },
    async stop() {
      child.kill()
      await ended
      await rm(folder, { recursive: true, force: true })
    },
  }
}

function configuration(folder: string, mailbox: string, port: number): string {
  return `primary_hostname = good.example
spool_directory = ${folder}/spool
log_file_path = ${folder}/log-%s
pid_file_path = ${folder}/exim.pid
exim_user = root
keep_environment =
daemon_smtp_ports = ${port}
local_interfaces = 127.0.0.1
tls_certificate = ${folder}/localhost-cert.pem
tls_privatekey = ${folder}/localhost-key.pem
tls_advertise_hosts = *
auth_advertise_hosts = \${if eq{$tls_in_cipher}{}{}{*}}
acl_smtp_rcpt = recipient
message_size_limit = 1M
begin acl
recipient:
  deny !authenticated = *
  defer local_parts = late
  deny message = 5.1.1 no such user
       !local_parts = ada : bob
  accept
begin routers
keep:
  driver = accept
  transport = keep
begin transports
keep:
  driver = appendfile
  file = ${mailbox}/$message_exim_id
  user = ${NOBODY}
  group = ${NOBODY}
begin authenticators
plain:
  driver = plaintext
  public_name = PLAIN
  server_condition = \${if and{{eq{$auth2}{${LOGIN.username}}}{eq{$auth3}{${LOGIN.password}}}}}
  server_set_id = $auth2
`
}

async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  await new Promise((resolve) => server.close(resolve))
  return port
}

function readable(file: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch {
    return ''
  }
}

async function untilTrue(met: () => boolean): Promise<void> {
  const end = systemClock.monotonic() + LIMIT_MS
  while (!met()) {
    if (systemClock.monotonic() > end)
      throw new Error(`Exim did not come so far within ${LIMIT_MS / SECOND} s.`)
    await pause(systemClock, 50, { keepAlive: true })
  }
}
