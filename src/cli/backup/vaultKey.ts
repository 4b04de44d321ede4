import { resolve } from 'node:path'
import { systemClock, systemRandom, UsageError } from '../../base/index.ts'
import { transaction, type BackupManifest, type Database } from '../../db/index.ts'
import { openLedgerKey, writeEntries } from '../../ledger/index.ts'
import { createVault, readMasterKey, type FoundMasterKey } from '../../vault/index.ts'

/**
 * The master key of the project, if it is the one that the backup's vault was sealed under: its name stands in every
 * sealed value, and follows from the key. Throws where it is missing or another one.
 */
export async function requireMasterKey(
  folder: string,
  environment: NodeJS.ProcessEnv,
  manifest: BackupManifest,
): Promise<FoundMasterKey> {
  const found = await readMasterKey({
    value: environment['TRESTLE_MASTER_KEY'],
    previous: environment['TRESTLE_MASTER_KEY_PREVIOUS'],
    file: resolve(folder, '.trestle', 'master.key'),
    mayGenerate: false,
    random: systemRandom,
  })
  const known = [found.key.wrapper.id, found.key.former?.wrapper.id]
  const foreign = manifest.masterKeys.filter((name) => !known.includes(name))
  if (foreign.length === 0) return found
  throw new UsageError(
    'master_key_wrong',
    `The vault of this backup was sealed under the master key "${foreign[0]}", and the present one is "${found.key.wrapper.id}". Nothing was changed. Put the former TRESTLE_MASTER_KEY, or the former .trestle/master.key, back; a backup never holds it. One that was made in the middle of a rotation needs both keys: the other as TRESTLE_MASTER_KEY_PREVIOUS.`,
  )
}

/** Opens what is sealed in the restored database itself. Throws where it does not open. */
export async function openVault(database: Database, { key }: FoundMasterKey): Promise<void> {
  const vault = createVault({
    storage: { reader: database.pool, transaction: (work) => transaction(database.pool, work) },
    key,
    clock: systemClock,
    random: systemRandom,
    environment: {},
    record: (client, entry) => writeEntries(client, [entry]),
    send: () => Promise.reject(new Error('Nothing leaves while a database is restored.')),
    authOf: () => undefined,
  })
  await vault.checkMasterKey()
  await openLedgerKey(database.pool, vault.installationSeal('ledger-key'), systemRandom)
}
