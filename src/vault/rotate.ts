import { hostname } from 'node:os'
import { newId, pause, PermanentError, SECOND, UsageError, type Clock, type Random } from '../base/index.ts'
import type { Actor } from '../ledger/index.ts'
import { holdersWithout } from './holders.ts'
import type { MasterKey } from './masterKey.ts'
import { foreignOf, SWAPPED } from './masterKeyCheck.ts'
import {
  beginRotation,
  countTurned,
  finishRotation,
  leaseRotation,
  readMasterKeyState,
  releaseRotation,
  type MasterKeyState,
} from './rotations.ts'
import { sealBatchAnew } from './sealAnew.ts'
import { countSealed, SEALED_COLUMNS, type SealedColumn } from './sealedColumns.ts'
import type { RecordEntry, VaultStorage } from './storage.ts'

export interface RotateOptions {
  readonly storage: VaultStorage
  /** The key to turn to, with the one to turn from as its `former`. */
  readonly key: MasterKey
  readonly clock: Clock
  /** By which values that others hold are waited for. */
  readonly pollClock: Clock
  readonly random: Random
  readonly record: RecordEntry
}

export interface RotateRequest {
  /** The operator who asks for it. */
  readonly actor: Actor
  readonly tenant: string
  readonly onProgress?: (done: number, total: number) => void
  /** Aborted, it ends after the batch at hand with `rotation_stopped`, and leaves its place to whoever goes on. */
  readonly signal?: AbortSignal
}

export interface RotateResult {
  readonly from: string
  readonly to: string
  /** Values that this process sealed anew. */
  readonly sealedAnew: number
  /** All that are sealed, every one under `to` now. */
  readonly sealed: number
  /** One that was begun before, and stood still, was carried to its end. */
  readonly resumed: boolean
}

/** Before values that others held are looked at again. */
const AGAIN_AFTER_MS = SECOND / 10
/** Places that an error names. */
const NAMED = 10

/**
 * Turns everything sealed to the present master key, with a new data key for each value, while the platform works:
 * refuse what cannot go well, before anything is written → say under which key is sealed from now on (committed) →
 * seal anew, in batches of the primary key → see that nothing is left (committed). How far it came is in the values
 * themselves: each names its key. So whoever asks again goes on where a killed process stood.
 */
export async function rotateMasterKey(options: RotateOptions, request: RotateRequest): Promise<RotateResult> {
  const { storage, key } = options
  const from = formerOf(key).wrapper.id
  const to = key.wrapper.id
  const state = await readMasterKeyState(storage.reader)
  refuseOtherKeys(state, key)
  const resumed = state.rotations.some((one) => one.to === to && one.finishedAt === undefined)
  const runner = `${hostname()} pid ${process.pid} ${newId('nod')}`
  if (state.sealing !== to) await begin(options, request, { from, to })
  if (!(await leaseRotation(storage.reader, to, runner))) throw underWay(state, to)
  try {
    const sealedAnew = await sealAllAnew(options, request, { to, runner })
    await finish(options, request, { from, to })
    const { all } = await countSealed(storage.reader)
    return { from, to, sealedAnew, sealed: all, resumed }
  } finally {
    await releaseRotation(storage.reader, to, runner)
  }
}

interface Turn {
  readonly from: string
  readonly to: string
}

function formerOf({ wrapper, former }: MasterKey): MasterKey {
  if (former === undefined)
    throw new UsageError(
      'previous_key_missing',
      'There is no former master key to turn from. Set TRESTLE_MASTER_KEY to a new key (openssl rand -base64 32) and TRESTLE_MASTER_KEY_PREVIOUS to the one until now, start all nodes with both, and try again. Where the key is in .trestle/master.key: move it to .trestle/master.previous.key, and put the new one in its place.',
    )
  if (former.wrapper.id === wrapper.id)
    throw new UsageError(
      'master_keys_same',
      `TRESTLE_MASTER_KEY and TRESTLE_MASTER_KEY_PREVIOUS are the same key ("${wrapper.id}"). Make a new one with: openssl rand -base64 32. Data keys are turned together with the master key.`,
    )
  return former
}

/** Refuses, before anything is written, keys that do not fit what is there. */
function refuseOtherKeys(state: MasterKeyState, key: MasterKey): void {
  const to = key.wrapper.id
  const from = formerOf(key).wrapper.id
  const census = { all: sum(state.sealed), byKey: state.sealed }
  const foreign = foreignOf(census, key)
  const others =
    state.sealing !== undefined && state.sealing !== from && state.sealing !== to
      ? [...new Set([...foreign.names, state.sealing])]
      : foreign.names
  if (others.length > 0)
    throw new UsageError(
      'previous_key_wrong',
      `Secrets in this database are sealed under ${others.map((name) => (name === '' ? 'no key that can be read' : `"${name}"`)).join(', ')}, and neither the new master key ("${to}") nor the former one ("${from}") is that. Nothing was changed. Set TRESTLE_MASTER_KEY_PREVIOUS to the key that opens them; a rotation that was begun is finished with its own two keys first.`,
    )
  if (census.all > 0 && !wasEverSealedUnder(from, state))
    throw new UsageError(
      'previous_key_wrong',
      `Nothing in this database was ever sealed under the former master key ("${from}"): everything is under "${to}", the one that is given as the new key. Nothing was changed. ${SWAPPED}`,
    )
  const given = state.rotations.find((one) => one.from === to)
  if (state.sealing !== to && given)
    throw new UsageError(
      'master_key_used_before',
      `The new master key ("${to}") is one that was turned away from on ${given.begunAt.toISOString()}. Nothing was changed. ${state.sealing === from ? 'If the two were taken for each other, the new one belongs in TRESTLE_MASTER_KEY. ' : ''}Make a new one with: openssl rand -base64 32`,
    )
}

function wasEverSealedUnder(name: string, { sealing, sealed, rotations }: MasterKeyState): boolean {
  return (
    sealed.has(name) || sealing === name || rotations.some(({ from, to }) => from === name || to === name)
  )
}

/** Waits for what is being sealed under the former key now; from then on everybody seals under the new one. */
async function begin(
  { storage, clock, record }: RotateOptions,
  { actor, tenant }: RotateRequest,
  { from, to }: Turn,
): Promise<void> {
  await storage.transaction(async (client) => {
    if (!(await beginRotation(client, from, to))) throw underWay(await readMasterKeyState(client), to)
    // Behind the lock of the row above: a process that comes later sees the new key there, and refuses to start.
    const without = await holdersWithout(client, to)
    if (without.length > 0)
      throw new UsageError(
        'nodes_lack_key',
        `These processes do not know the new master key, and could not read what is sealed under it: ${without.map(({ host, pid }) => `${host} pid ${pid}`).join(', ')}. Nothing was changed. Start them again with TRESTLE_MASTER_KEY set to the new key and TRESTLE_MASTER_KEY_PREVIOUS to the former one, one after the other; then try again. One that was killed is forgotten within 30 s.`,
      )
    await record(client, {
      tenant,
      at: clock.now(),
      actor,
      action: 'master_key.rotation_begun',
      target: to,
      outcome: 'begun',
      detail: { from, to },
    })
  })
}

/** Goes over every column until nothing is left under the former key but what does not open. */
async function sealAllAnew(
  options: RotateOptions,
  { onProgress, signal }: RotateRequest,
  { to, runner }: { readonly to: string; readonly runner: string },
): Promise<number> {
  const { storage } = options
  const before = await countSealed(storage.reader)
  const total = before.all - (before.byKey.get(to) ?? 0)
  let turned = 0
  const onBatch = async (count: number): Promise<void> => {
    turned += count
    if (!(await countTurned(storage.reader, to, runner, count)))
      throw underWay(await readMasterKeyState(storage.reader), to)
    if (count > 0) onProgress?.(turned, Math.max(total, turned))
    if (signal?.aborted === true) throw stopped(turned, total)
  }
  for (const column of SEALED_COLUMNS)
    for (;;) {
      const pass = await passOver(options, column, onBatch)
      if (pass.unreadable.length > 0 && pass.left === 0) throw unreadable(column, pass.unreadable)
      if (pass.left === 0) break
      await pause(options.pollClock, AGAIN_AFTER_MS, { keepAlive: true })
    }
  return turned
}

interface Pass {
  /** Values that others held or changed: they are looked at again. */
  readonly left: number
  readonly unreadable: readonly (readonly string[])[]
}

async function passOver(
  options: RotateOptions,
  column: SealedColumn,
  onBatch: (turned: number) => Promise<void>,
): Promise<Pass> {
  const unreadable: (readonly string[])[] = []
  let left = 0
  let after: readonly string[] | undefined
  do {
    const batch = await sealBatchAnew(options.storage.reader, column, after, options)
    unreadable.push(...batch.unreadable)
    left += batch.read - batch.turned - batch.unreadable.length
    await onBatch(batch.turned)
    after = batch.last
  } while (after !== undefined)
  return { left, unreadable }
}

async function finish(
  { storage, clock, record }: RotateOptions,
  { actor, tenant }: RotateRequest,
  { from, to }: Turn,
): Promise<void> {
  await storage.transaction(async (client) => {
    const { all, byKey } = await countSealed(client)
    const left = all - (byKey.get(to) ?? 0)
    if (left > 0)
      throw new PermanentError(
        'rotation_incomplete',
        `${left} of ${all} values are still sealed under the former master key: they came while this ended. Run it again: trestle vault rotate`,
      )
    const sealedAnew = await finishRotation(client, to)
    if (sealedAnew === undefined) return
    await record(client, {
      tenant,
      at: clock.now(),
      actor,
      action: 'master_key.rotated',
      target: to,
      outcome: 'succeeded',
      detail: { from, to, sealedAnew },
    })
  })
}

function underWay({ rotations }: MasterKeyState, to: string): UsageError {
  const runner = rotations.find((one) => one.to === to)?.runner
  return new UsageError(
    'rotation_under_way',
    `Another process${runner === undefined ? '' : ` (${runner})`} is rotating the master key already. Let it finish; if it was ended, run this again in 10 s and it goes on from there. See how far it is with: trestle vault`,
  )
}

function stopped(turned: number, total: number): UsageError {
  return new UsageError(
    'rotation_stopped',
    `The rotation was stopped when ${turned} of ${total} values were sealed anew. Nothing is lost, and both keys are needed until it is finished. Go on with: trestle vault rotate`,
  )
}

function unreadable(column: SealedColumn, places: readonly (readonly string[])[]): PermanentError {
  const named = places.slice(0, NAMED).map((key) => key.join('/'))
  const more = places.length > NAMED ? `, and ${places.length - NAMED} more` : ''
  return new PermanentError(
    'secrets_unreadable',
    `${places.length} sealed values do not open with the former master key, though they name it: they were altered, or moved from another row (${column.table} ${named.join(', ')}${more}). They were left as they are, and keep the former key in use. Restore those rows from a backup, or give the secrets again with "trestle connections add"; then run this again.`,
  )
}

function sum(counts: ReadonlyMap<string, number>): number {
  return [...counts.values()].reduce((all, count) => all + count, 0)
}
