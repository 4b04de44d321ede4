import { readdirSync, watch, type FSWatcher } from 'node:fs'
import { join, relative } from 'node:path'
import type { Clock } from '../../base/index.ts'

export interface FileWatch {
  stop(): void
}

export interface FileWatchOptions {
  readonly folder: string
  readonly clock: Clock
  /** Paths below the folder, collected until nothing has changed for 150 ms. */
  readonly onChange: (paths: readonly string[]) => void
}

const QUIET_MS = 150
/** Folders that are watched at most; a system allows some thousands in all. */
const MOST_FOLDERS = 2000
const IGNORED = new Set(['node_modules', '.trestle', '.git', 'dist', 'coverage'])
const READ = /(\.[cm]?[jt]s|\.json|^\.env)$/

/** Whether a change to a file of this name can change what runs. */
export function isSource(name: string): boolean {
  return READ.test(name) && !name.startsWith('.#') && !name.endsWith('~')
}

/**
 * Watches the project's own files, folder by folder: Node's recursive watch would walk through node_modules too.
 */
export function watchFiles({ folder, clock, onChange }: FileWatchOptions): FileWatch {
  const watchers = new Map<string, FSWatcher>()
  const changed = new Set<string>()
  let cancel: () => void = () => {}

  function tell(): void {
    const paths = [...changed].sort()
    changed.clear()
    onChange(paths)
  }

  function note(path: string): void {
    changed.add(relative(folder, path))
    cancel()
    cancel = clock.after(QUIET_MS, tell)
  }

  function enter(path: string): void {
    if (watchers.has(path) || watchers.size >= MOST_FOLDERS) return
    let watcher: FSWatcher
    try {
      watcher = watch(path, (_event, name) => onEvent(path, name))
    } catch {
      return // Gone again, or no more watches to be had: what is not watched needs a restart by hand.
    }
    watcher.on('error', () => leave(path))
    watchers.set(path, watcher)
    for (const name of foldersIn(path)) enter(join(path, name))
  }

  function leave(path: string): void {
    watchers.get(path)?.close()
    watchers.delete(path)
  }

  function onEvent(path: string, name: string | null): void {
    if (name === null || IGNORED.has(name)) return
    if (foldersIn(path).includes(name)) enter(join(path, name))
    else if (isSource(name)) note(join(path, name))
  }

  enter(folder)
  return {
    stop() {
      cancel()
      for (const path of watchers.keys()) leave(path)
    },
  }
}

function foldersIn(path: string): string[] {
  try {
    return readdirSync(path, { withFileTypes: true })
      .filter((entry) => entry.isDirectory() && !IGNORED.has(entry.name))
      .map((entry) => entry.name)
  } catch {
    return []
  }
}
