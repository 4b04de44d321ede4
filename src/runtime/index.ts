/**
 * The composition root: configuration → build → start → stop.
 *
 * Owns: reading the configuration, finding the database, building every part in one place and handing it down,
 * the order of starting and stopping.
 * Leaves to others: everything that the parts do.
 *
 * Invariants
 * 1. Nothing listens before everything behind it is ready; intake closes last.
 * 2. A mistake in the configuration is refused before anything is started.
 */
export { findConfig, importFile, loadConfig, type LoadedConfig } from './loadConfig.ts'
export { blocksAfter, checkpointFile, newestCheckpoint, putAsideCheckpoints } from './checkpoints.ts'
export { embeddedFolder, findDatabase, type FoundDatabase } from './findDatabase.ts'
export { openInstallation, TENANT, type Installation, type InstallationOptions } from './installation.ts'
export { callsOf, testConnection } from './calls.ts'
export { hasCheapRead } from './connectionChecks.ts'
export { rotateCredential } from './rotation.ts'

export { createPlatform, type Platform, type PlatformOptions, type Role } from './platform.ts'
