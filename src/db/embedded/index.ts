/**
 * A PostgreSQL of our own, so that Trestle starts without anything being set up: a real server as a child of the
 * system, not of this process, with its data in one folder.
 *
 * Owns: the programs (from an npm package), the data folder, the server's life, and finding it again after this
 * process was killed.
 * Leaves to others: connections and tables (`db/`); any server named by DATABASE_URL.
 *
 * Invariants
 * 1. What was committed outlives every end: stop, SIGKILL of this process, SIGKILL of the server, a power cut.
 * 2. Never do two servers work on one data folder. PostgreSQL's own locks decide; we never remove them.
 * 3. A server is taken for ours only by its command line or its password, never by its pid alone.
 * 4. What is made (programs, data) is made beside its place and renamed when complete.
 * 5. `stop()` of one process never ends a server that another process of ours uses.
 * 6. It listens on 127.0.0.1 only, with a random password that only its users can read.
 * 7. What bears the name of a backup is whole; what a restore puts in place was marked as restored before.
 */
export {
  startEmbeddedPostgres,
  stopEmbeddedPostgres,
  type EmbeddedPostgres,
  type EmbeddedPostgresOptions,
} from './start.ts'
export { backupEmbedded, type BackupOptions } from './backup.ts'
export { readManifest, type BackupFacts, type BackupManifest } from './backupManifest.ts'
export {
  restoreEmbedded,
  verifyBackupFiles,
  withScratchServer,
  type BackupProblem,
  type Restored,
  type RestoreOptions,
} from './backupRestore.ts'
export type { ServerWatch, WatchOptions } from './watch.ts'
