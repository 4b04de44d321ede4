import type { Command } from 'commander'
import { addCommand, addGroup } from '../command.ts'

/** `trestle db`: the database itself. */
export function addDb(program: Command): void {
  const db = addGroup(program, 'db', 'the database itself')
  addCommand(db, {
    usage: 'distribute',
    summary: 'distribute the tables by tenant, where the database is Citus',
    details: [
      'Stop all nodes first; then set TRESTLE_DATABASE_BACKEND=citus for all of them. Rows that are there are moved.',
      "The queue's tables stay on the coordinator. Run it again after an update that adds tables.",
    ].join('\n'),
    examples: ['TRESTLE_DATABASE_BACKEND=citus trestle db distribute'],
    run: async ({ withSession, actor, output }) => {
      const { distributeByTenant, transaction } = await import('../../db/index.ts')
      const { writeEntries } = await import('../../ledger/index.ts')
      await withSession(async ({ installation: { database, clock }, tenant }) => {
        const done = await transaction(database.pool, async (client) => {
          const distributed = await distributeByTenant(client)
          await writeEntries(client, [
            {
              tenant,
              at: clock.now(),
              actor,
              action: 'database.distributed',
              target: 'database',
              outcome: 'distributed',
              detail: distributed,
            },
          ])
          return distributed
        })
        output.answer(done, () =>
          done.now.length === 0
            ? `All ${done.before.length} tables were distributed already.`
            : `Distributed by tenant: ${done.now.join(', ')}.`,
        )
      })
    },
  })
}
