import { execFile } from 'node:child_process'
import { mkdir, rename, rm, writeFile, truncate } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { pause, systemClock } from '../../src/base/index.ts'
import { startEmbeddedPostgres, stopEmbeddedPostgres, type EmbeddedPostgres } from '../../src/db/index.ts'
import { processState, treeOf } from './processes.ts'

/**
 * A PostgreSQL whose power can be cut, on one machine: its data lies on a file system of its own in a file (ext4 on a
 * loop device). At the cut everything stands still, and the file is copied: what was not synced by then is in the
 * kernel's memory only, and so it is not in the copy, as it would not be on the disk. The copy is what boots.
 */
export interface PowerRig {
  readonly postgres: EmbeddedPostgres
  /** Cuts the power while `andThen` ends what ran on the same machine, then boots what is on the disk. */
  cut(andThen: () => Promise<void>): Promise<EmbeddedPostgres>
  close(): Promise<void>
}

/** Sparse: it takes as much as is written. */
const DISK_BYTES = 2 * 1024 ** 3
/** The journal's own commits would sync what nobody asked for: less often than any test takes. */
const MOUNT_OPTIONS = 'loop,commit=300'

/** Why the power cannot be cut here, in words; `undefined` where it can. */
export async function whyNoPowerRig(folder: string): Promise<string | undefined> {
  if (process.platform !== 'linux') return 'it needs Linux'
  if (process.getuid?.() !== 0) return 'it needs root, to mount a file system: run it with sudo'
  const at = join(folder, 'try')
  try {
    await makeDisk(`${at}.img`, at, 64 * 1024 ** 2)
    await run('umount', at)
    return undefined
  } catch (error) {
    return `a file system in a file cannot be mounted here: ${(error as Error).message.trim().split('\n').at(-1)}`
  } finally {
    await rm(`${at}.img`, { force: true })
  }
}

export async function openPowerRig(
  folder: string,
  settings: Readonly<Record<string, string>> = {},
): Promise<PowerRig> {
  const [image, disk] = [join(folder, 'disk.img'), join(folder, 'disk')]
  await makeDisk(image, disk, DISK_BYTES)
  const dataDir = join(disk, 'postgres')
  const own = { max_wal_size: '256MB', min_wal_size: '64MB', ...settings }
  let postgres = await startEmbeddedPostgres({ dataDir, settings: own })
  const { port } = postgres
  // The power is never cut in the first minute of an installation.
  await run('sync', '-f', disk)

  return {
    get postgres() {
      return postgres
    },
    async cut(andThen) {
      const frozen = await freeze(postgres.pid)
      await andThen()
      await run('cp', '--sparse=always', image, `${image}.cut`)
      for (const pid of frozen) signal(pid, 'SIGKILL')
      while (frozen.some((pid) => processState(pid) !== undefined))
        await pause(systemClock, 10, { keepAlive: true })
      await unmount(disk)
      await rename(`${image}.cut`, image)
      await run('mount', '-o', MOUNT_OPTIONS, image, disk)
      postgres = await startEmbeddedPostgres({ dataDir, port, settings: own })
      return postgres
    },
    async close() {
      await stopEmbeddedPostgres(dataDir)
      await unmount(disk)
      await rm(image, { force: true })
    },
  }
}

/** A file system of its own in a file, mounted. */
export async function makeDisk(image: string, at: string, bytes: number): Promise<void> {
  await mkdir(at, { recursive: true })
  await writeFile(image, '')
  await truncate(image, bytes)
  await run('mkfs.ext4', '-q', '-F', image)
  await run('mount', '-o', MOUNT_OPTIONS, image, at)
}

/** Stops the postmaster and all that it started, until no new one appears; answers their pids. */
async function freeze(postmaster: number): Promise<readonly number[]> {
  const frozen = new Set<number>()
  for (;;) {
    const running = treeOf(postmaster).filter((pid) => !frozen.has(pid))
    if (running.length === 0) break
    for (const pid of running) {
      signal(pid, 'SIGSTOP')
      frozen.add(pid)
    }
  }
  while ([...frozen].some((pid) => !'TZ'.includes(processState(pid) ?? 'Z')))
    await pause(systemClock, 1, { keepAlive: true })
  return [...frozen]
}

function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name)
  } catch {
    // It has ended already.
  }
}

const UNMOUNT_TRIES = 50

export async function unmount(at: string): Promise<void> {
  for (let i = 1; ; i++) {
    try {
      return await run('umount', at)
    } catch (error) {
      if (i === UNMOUNT_TRIES) throw error
      await pause(systemClock, 100, { keepAlive: true })
    }
  }
}

async function run(program: string, ...args: readonly string[]): Promise<void> {
  await promisify(execFile)(program, args)
}
