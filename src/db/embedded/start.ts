import { stat } from 'node:fs/promises'
import { resolve } from 'node:path'
import { type Clock, reasonOf, systemClock, UsageError } from '../../base/index.ts'
import { chooseAccount, readPasswd } from './account.ts'
import { refuseHalfRestored } from './restoreMark.ts'
import { cacheFolders, findPackage, placeBinaries } from './binaries.ts'
import { configuration } from './configuration.ts'
import {
  dataOwner,
  folderAt,
  joinUsers,
  markerOf,
  openFolder,
  readPassword,
  trimLog,
  type Membership,
} from './folder.ts'
import { giveTo, initialize } from './initialize.ts'
import { isPostmasterOf } from './postmaster.ts'
import { bringUp, end, ensureDatabase, urlOf, type Running, type Server } from './server.ts'
import { watchServer, type ServerWatch, type WatchOptions } from './watch.ts'

export interface EmbeddedPostgresOptions {
  /** Where the data is kept, for example `.trestle/postgres`. Made if it is not there. */
  readonly dataDir: string
  /**
   * Where the copy of PostgreSQL is kept that is run (60 MB). Default: `/var/cache/trestle` for root,
   * `~/.cache/trestle` for others, and where that fails a folder in the system's temporary folder.
   */
  readonly cacheDir?: string
  /**
   * The port on 127.0.0.1; it is never swapped for another. Default: that of the last start if it is free, else
   * another free one.
   */
  readonly port?: number
  /** Is told in words what is done. Default: nobody is. */
  readonly onNotice?: (line: string) => void
  /** Settings of PostgreSQL that go before ours: `{ work_mem: '16MB' }`. A server that already runs keeps its own. */
  readonly settings?: Readonly<Record<string, string>>
  /** Default: the machine's. */
  readonly clock?: Clock
}

export interface EmbeddedPostgres {
  /** Connects as superuser to the database `trestle`. Stays the same when the server is brought back. */
  readonly url: string
  readonly port: number
  /** Absolute. */
  readonly dataDir: string
  /** The postmaster's; another one after the server was brought back. */
  readonly pid: number
  /** Brings the server back if it is gone; answers whether it was gone. */
  restartIfGone(): Promise<boolean>
  /** Looks every second whether the server is there, and brings it back when it is not. {@link stop} ends it. */
  watch(options?: WatchOptions): ServerWatch
  /**
   * Stops the server and waits until it has stopped, unless another process uses it too. Connections are cut, and
   * what was committed is kept. May be called twice. Without it the server outlives this process.
   */
  stop(): Promise<void>
}

const DATABASE = 'trestle'

/**
 * Starts a PostgreSQL of our own on 127.0.0.1, or takes over the one that already runs on this data: one left by a
 * process that was killed, or one shared with another process. A first start takes about a second, a later one a
 * fraction. Throws an error that says what to do where it cannot be.
 */
export async function startEmbeddedPostgres(options: EmbeddedPostgresOptions): Promise<EmbeddedPostgres> {
  if (options.port !== undefined && !isPort(options.port))
    throw new UsageError('port_invalid', `${options.port} is not a port: give 1 to 65535, or leave it out.`)
  configuration(options.settings)
  const server = await prepare(options)
  const membership = await joinUsers(server.folder)
  try {
    const running = await bringUp(server, options.port)
    await ensureDatabase(server, running.port, DATABASE)
    await handBack(server)
    return handle(server, running, membership)
  } catch (error) {
    await membership.leave()
    throw error
  }
}

/** Stops the server of a data folder, whoever uses it and whoever started it. Answers whether one ran. */
export async function stopEmbeddedPostgres(dataDir: string): Promise<boolean> {
  if ((await dataOwner(folderAt(dataDir))) === undefined) return false
  return end(await prepare({ dataDir }))
}

/** Everything before the server itself: the folder, the user, the programs, the data. */
async function prepare(options: EmbeddedPostgresOptions): Promise<Server> {
  const { settings = {}, onNotice: notice = () => {}, clock = systemClock } = options
  await refuseHalfRestored(resolve(options.dataDir))
  const folder = await openFolder(options.dataDir)
  const owner = await dataOwner(folder)
  const uid = process.getuid?.()
  const passwd = await readPasswd()
  const account = chooseAccount({ platform: process.platform, uid, dataOwner: owner, passwd })
  const binaries = await placeBinaries({
    package: await findPackage(),
    caches: cacheFolders({ uid, cacheDir: options.cacheDir }),
    account,
  })
  if (owner === undefined) notice(`Creating a database of PostgreSQL ${binaries.version} in ${folder.home}.`)
  await initialize(folder, binaries, account)
  // Data that was copied by root belongs to root, and the server may only use what is its user's own.
  if (owner?.uid === 0) await giveTo(account, folder.data)
  const [marker, password] = [await markerOf(folder), await readPassword(folder)]
  return { folder, account, binaries, marker, password, settings, clock, notice }
}

/** Started once by root in the folder of an ordinary user, nothing that root made there may lock that user out. */
async function handBack({ folder }: Server): Promise<void> {
  if (process.getuid?.() !== 0) return
  const { uid, gid } = await stat(folder.home)
  if (uid === 0) return
  for (const path of [folder.log, folder.port, folder.users]) await giveTo({ uid, gid }, path)
}

function handle(server: Server, first: Running, membership: Membership): EmbeddedPostgres {
  const { folder, marker, clock, notice } = server
  let running = first
  let watching: ServerWatch | undefined
  let stopping: Promise<void> | undefined

  const isUp = (): Promise<boolean> => isPostmasterOf(folder, marker, running.pid)
  const bringBack = async (): Promise<void> => {
    running = await bringUp(server, first.port)
  }
  const stop = async (): Promise<void> => {
    await watching?.stop()
    const others = await membership.leave()
    if (others === 0) await end(server)
    else notice(`PostgreSQL keeps running: ${others} more of our processes use it.`)
  }

  return {
    url: urlOf(server, first.port, DATABASE),
    port: first.port,
    dataDir: folder.home,
    get pid() {
      return running.pid
    },
    async restartIfGone() {
      if (stopping !== undefined || (await isUp())) return false
      await bringBack()
      return true
    },
    watch(options) {
      const look = async (): Promise<boolean> => {
        await trimLog(folder).catch((error: unknown) => notice(reasonOf(error)))
        return isUp()
      }
      watching = watchServer({ clock, notice, isUp: look, bringBack }, options)
      return watching
    },
    stop: () => (stopping ??= stop()),
  }
}

function isPort(port: number): boolean {
  return Number.isInteger(port) && port > 0 && port < 65_536
}
