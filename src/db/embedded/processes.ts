import { execFile } from 'node:child_process'
import { readdir, readFile } from 'node:fs/promises'
import { promisify } from 'node:util'

/** Whether a process with this pid exists. A pid may have been given to another process since. */
export function isProcessAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM'
  }
}

/**
 * The arguments that a living process was started with, or undefined if there is no such process. A process that
 * has ended and that nobody has waited for (Node as pid 1 of a container does not) counts as none.
 */
export async function argumentsOf(pid: number): Promise<string[] | undefined> {
  if (process.platform === 'linux') {
    const line = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')
    return line === '' ? undefined : line.split('\0').slice(0, -1)
  }
  if (!isProcessAlive(pid)) return undefined
  const run = promisify(execFile)
  const asked =
    process.platform === 'win32'
      ? run('powershell', ['-NoProfile', '-Command', WINDOWS_QUERY.replace('PID', String(pid))])
      : run('ps', ['-o', 'command=', '-p', String(pid)])
  const answer = await asked.catch(() => undefined)
  return answer?.stdout.trim().split(' ')
}

const WINDOWS_QUERY = `(Get-CimInstance Win32_Process -Filter 'ProcessId=PID').CommandLine`

/**
 * Tells one process from a later one with the same pid: on Linux the start time in ticks since boot (field 22 of
 * /proc/PID/stat), elsewhere ''. Undefined if there is no such process.
 */
export async function birthOf(pid: number): Promise<string | undefined> {
  if (process.platform !== 'linux') return isProcessAlive(pid) ? '' : undefined
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => undefined)
  // The second field is the program's name in parentheses, which may itself hold spaces and parentheses.
  return stat?.slice(stat.lastIndexOf(')') + 2).split(' ')[19]
}

/**
 * Pids of the processes of a PostgreSQL whose cluster_name is this one, its postmaster excepted: they say it in the
 * title that they give themselves. Linux only; elsewhere none are found.
 */
export async function serverProcessesOf(clusterName: string): Promise<number[]> {
  if (process.platform !== 'linux') return []
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name)).map(Number)
  const titles = await Promise.all(pids.map(async (pid) => (await argumentsOf(pid))?.[0] ?? ''))
  return pids.filter((_, i) => titles[i]!.startsWith(`postgres: ${clusterName}: `))
}
