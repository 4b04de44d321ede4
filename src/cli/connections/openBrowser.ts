import { spawn } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'

/** How a browser is opened here; `undefined` where there is no display to open one on. */
export function browserCommand(
  platform: NodeJS.Platform,
  environment: NodeJS.ProcessEnv,
): readonly [command: string, ...args: string[]] | undefined {
  if (platform === 'darwin') return ['open']
  if (platform === 'win32') return ['explorer.exe']
  return environment['DISPLAY'] || environment['WAYLAND_DISPLAY'] ? ['xdg-open'] : undefined
}

/**
 * Opens the address in a browser, and gives what takes the traces away; `undefined` where no browser could be started.
 * The address goes through a file that only this user can read: arguments of processes are seen by everybody.
 */
export async function openBrowser(
  address: string,
  environment: NodeJS.ProcessEnv,
): Promise<(() => Promise<void>) | undefined> {
  const command = browserCommand(process.platform, environment)
  if (command === undefined) return undefined
  const folder = await mkdtemp(join(tmpdir(), 'trestle-authorize-'))
  const remove = (): Promise<void> => rm(folder, { recursive: true, force: true })
  const file = join(folder, 'authorize.html')
  await writeFile(file, pageFor(address), { mode: 0o600 })
  const [name, ...args] = command
  const started = await new Promise<boolean>((resolve) => {
    const child = spawn(name, [...args, pathToFileURL(file).href], { stdio: 'ignore', detached: true })
    child.once('error', () => resolve(false))
    child.once('spawn', () => {
      child.unref()
      resolve(true)
    })
  })
  if (started) return remove
  await remove()
  return undefined
}

function pageFor(address: string): string {
  const escaped = address.replaceAll('&', '&amp;').replaceAll('"', '&quot;').replaceAll('<', '&lt;')
  return `<!doctype html><meta charset="utf-8"><meta name="referrer" content="no-referrer"><meta http-equiv="refresh" content="0;url=${escaped}"><title>Trestle</title><p><a href="${escaped}">Go on to authorize</a></p>\n`
}
