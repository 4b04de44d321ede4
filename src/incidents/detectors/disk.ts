import { statfs } from 'node:fs/promises'
import type { Queryable } from '../../db/index.ts'
import { defineDetector, type Detector } from './detector.ts'

/** Room on a file system, in bytes. */
export interface Room {
  /** Left to who is not root. */
  readonly free: number
  readonly used: number
}

/** Of a folder of this machine; `undefined` where it cannot be seen. */
export type RoomOf = (folder: string) => Promise<Room | undefined>

interface Disk extends Room {
  readonly folder: string
  /** It is an incident already. */
  readonly told: boolean
}

/** Told of from this part on, and no longer below the second: `df` shows the same percentages. */
export const NEARLY_FULL = 0.85
export const ROOM_AGAIN = 0.8

/**
 * The disk under the database fills up: the embedded one's, or that of a server on this machine whose folder we may
 * know. Of a server elsewhere nothing is known here.
 */
export function disk(roomOf: RoomOf): Detector {
  /** Does not change while a server runs; `null`: not on this machine, or not for us to know. */
  let folder: string | null | undefined
  return defineDetector<Disk>({
    kind: 'disk',
    async facts({ client, tenant }) {
      folder ??= await dataFolder(client)
      const room = folder === null ? undefined : await roomOf(folder)
      if (folder === null || room === undefined) return []
      const { rowCount } = await client.query(
        `select 1 from incidents where tenant = $1 and kind = 'disk' and state <> 'resolved' limit 1`,
        [tenant],
      )
      return [{ folder, ...room, told: (rowCount ?? 0) > 0 }]
    },
    condition({ folder, free, used, told }, now) {
      const share = used / (used + free)
      if (!(share >= (told ? ROOM_AGAIN : NEARLY_FULL))) return undefined
      return {
        subject: folder,
        title: 'The disk under the database is nearly full',
        what: `The disk that holds the database (${folder}) is ${Math.floor(share * 100)} % full: ${gigabytes(free)} are left.`,
        since: now,
        holdsUp:
          'Nothing yet. When it is full, deliveries are answered 503 and nothing goes on until there is room; what was acknowledged stays.',
        todo: 'Make room on that disk, or move the database to a larger one.',
      }
    },
    over: 'There is room on the disk again.',
  })
}

async function dataFolder(client: Queryable): Promise<string | null> {
  // Who may not know the folder does not see the row.
  const { rows } = await client.query<{ folder: string | null; local: boolean }>(
    `select (select setting from pg_settings where name = 'data_directory') as folder,
       coalesce(inet_server_addr() <<= inet '127.0.0.0/8' or inet_server_addr() = inet '::1', true) as local`,
  )
  const [row] = rows
  return row?.local === true && row.folder !== null && row.folder !== '' ? row.folder : null
}

/** As the operating system tells it, at once. */
export async function roomOnDisk(folder: string): Promise<Room | undefined> {
  try {
    const { bsize, blocks, bfree, bavail } = await statfs(folder)
    return { free: bavail * bsize, used: (blocks - bfree) * bsize }
  } catch {
    return undefined
  }
}

function gigabytes(bytes: number): string {
  return bytes >= 1e9 ? `${(bytes / 1e9).toFixed(1)} GB` : `${Math.round(bytes / 1e6)} MB`
}
