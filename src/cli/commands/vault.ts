import type { Command } from 'commander'
import { addCommand, addGroup } from '../command.ts'

/** `trestle vault`: the keys that secrets are sealed under. */
export function addVault(program: Command): void {
  const vault = addGroup(program, 'vault', 'the keys that secrets are sealed under, and their rotation')

  addCommand(vault, {
    usage: 'show',
    summary: 'what is sealed under which master key, and how far a rotation came',
    isDefault: true,
    examples: ['trestle vault', 'trestle vault --json'],
    run: async ({ withSession, output, clock }) => {
      const { masterKeyWords } = await import('../vault/words.ts')
      const state = await withSession(({ installation }) => installation.vault.masterKeyState())
      output.answer(
        {
          sealing: state.sealing ?? null,
          present: state.present,
          former: state.former ?? null,
          sealed: Object.fromEntries(state.sealed),
          rotations: state.rotations.map((one) => ({
            ...one,
            finishedAt: one.finishedAt ?? null,
            runner: one.runner ?? null,
          })),
          nodes: state.nodes,
        },
        () => masterKeyWords(state, clock),
      )
    },
  })

  addCommand(vault, {
    usage: 'rotate',
    summary: 'turn everything sealed to a new master key and new data keys, while nodes work',
    details: [
      'TRESTLE_MASTER_KEY is the new key, TRESTLE_MASTER_KEY_PREVIOUS the one until now (or .trestle/master.key and',
      '.trestle/master.previous.key). Start all nodes with both first, one after the other; then run this. If it is ended',
      'in the middle, run it again: it goes on where it was. Afterwards the former key can go from all nodes.',
    ].join('\n'),
    examples: ['trestle vault rotate', 'trestle vault rotate --json'],
    run: async ({ withSession, actor, output }) => {
      const { rotatedWords } = await import('../vault/words.ts')
      const progress = output.progress('Sealing anew')
      await withSession(async (session) => {
        const { tenant, installation } = session
        const { vault, clock } = installation
        const begun = clock.monotonic()
        const stop = new AbortController()
        const rotation = vault
          .rotateMasterKey({
            actor,
            tenant,
            onProgress: (done, total) => progress.to(done, total),
            signal: stop.signal,
          })
          .finally(() => progress.end())
        // At Ctrl-C the batch at hand is carried to its end, and the next process finds the place free.
        session.beforeClose(() => {
          stop.abort()
          return rotation.then(() => {})
        })
        const result = await rotation
        const seconds = Math.round((clock.monotonic() - begun) / 100) / 10
        output.answer({ ...result, seconds }, () => rotatedWords(result))
      })
    },
  })
}
