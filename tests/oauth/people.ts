import { pause, SECOND, systemClock } from '../../src/base/index.ts'
import type { Evidence } from './verdict.ts'
import type { World } from './world.ts'

const LOOK_MS = 250
/**
 * Who was told of nothing by then authorizes all the same, so that the rest can be judged. An alert whose node dies
 * while it sends it is others' after two minutes.
 */
const TOLD_WITHIN_MS = 150 * SECOND

/** Those who are told of connections that need a person. */
export interface People {
  readonly told: () => Evidence['told']
  /** How many connections needed one so far. */
  readonly asked: () => number
  stop(): Promise<void>
}

/** Whoever is told that a connection needs a person, authorizes it anew: at once when told, and not before. */
export function createPeople(world: World, names: readonly string[], troubles: string[]): People {
  /** The sink's clock is the monotonic one. */
  const shift = systemClock.now() - systemClock.monotonic()
  const toldOf = (kinds: readonly string[]): Evidence['told'] =>
    world.sink.told
      .filter(({ as, kind }) => as === 'opened' && kinds.includes(kind))
      .flatMap(({ what, at }) => {
        const connection = names.find((name) => ` ${what}`.includes(` ${name} (`))
        return connection === undefined ? [] : [{ connection, at: at + shift }]
      })
  // A person who hears that a grant is in doubt can look; only who hears that it is over authorizes anew.
  const told = (): Evidence['told'] => toldOf(['reauthorization', 'credential_refresh'])
  const since = new Map<string, number>()
  /** When a person last authorized it. */
  const acted = new Map<string, number>()
  let asked = 0
  const state = { over: false }
  async function look(): Promise<void> {
    const lost = await world.ask<{ name: string }>(
      `select name from connections where state = 'needs_reauthorization'`,
    )
    const now = systemClock.now()
    const mayAct = lost.filter(({ name }) => {
      if (!since.has(name)) since.set(name, now)
      const seen = since.get(name)!
      const isTold = toldOf(['reauthorization']).some(
        // Not since it was seen: another's authorization may have taken a while before anybody looked.
        ({ connection, at }) => connection === name && at > (acted.get(name) ?? 0),
      )
      if (!isTold && now - seen >= TOLD_WITHIN_MS)
        troubles.push(`nobody was told of ${name} within ${TOLD_WITHIN_MS / SECOND} s`)
      return isTold || now - seen >= TOLD_WITHIN_MS
    })
    asked += mayAct.length
    for (const { name } of mayAct) {
      since.delete(name)
      acted.set(name, now)
    }
    await Promise.all(mayAct.map(({ name }) => world.authorize(name)))
  }
  const looping = (async () => {
    while (!state.over) {
      await look().catch((error: unknown) => troubles.push(`looking for lost grants: ${String(error)}`))
      await pause(systemClock, LOOK_MS, { keepAlive: true })
    }
  })()
  return {
    told,
    asked: () => asked + since.size,
    stop() {
      state.over = true
      return looping
    },
  }
}
