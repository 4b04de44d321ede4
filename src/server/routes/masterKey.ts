import { z } from '@hono/zod-openapi'
import type { ApiDeps } from '../deps.ts'
import { defineRoute, type AnyRoute } from '../http/route.ts'
import { iso, time } from './schemas.ts'

const keyName = z.string().openapi({ description: 'The name of a master key. It says nothing of the key.' })

const masterKey = z
  .object({
    sealing: keyName.nullable().openapi({
      description: 'What new values are sealed under. null: the master key was never rotated.',
    }),
    sealed: z
      .record(z.string(), z.int())
      .openapi({ description: 'Sealed values, by the name of their key.' }),
    rotations: z.array(
      z.object({
        from: keyName,
        to: keyName,
        begunAt: time,
        finishedAt: time.nullable().openapi({ description: 'null: both keys are needed still.' }),
        sealedAnew: z.int().openapi({ description: 'Values so far.' }),
        runner: z.string().nullable().openapi({
          description: 'Who is at it. null, and not finished: go on with "trestle vault rotate".',
        }),
      }),
    ),
    nodes: z
      .array(z.object({ host: z.string(), pid: z.int(), keys: z.array(keyName) }))
      .openapi({ description: 'Processes that serve, and the keys that each can open with.' }),
  })
  .openapi('MasterKey')

/**
 * How the master key stands. To look at only: a rotation needs both keys, which are never sent anywhere, so it is begun
 * where they are, by `trestle vault rotate`.
 */
export function masterKeyRoutes({ vault }: Pick<ApiDeps, 'vault'>): readonly AnyRoute[] {
  return [
    defineRoute({
      method: 'get',
      path: '/master-key',
      tag: 'Vault',
      needs: { scope: 'vault:read', wholeInstallation: true },
      summary: 'What is sealed under which master key, and how far a rotation came',
      result: masterKey,
      async answer() {
        const { sealing, sealed, rotations, nodes } = await vault.masterKeyState()
        return {
          sealing: sealing ?? null,
          sealed: Object.fromEntries(sealed),
          rotations: rotations.map(({ from, to, begunAt, finishedAt, sealedAnew, runner }) => ({
            from,
            to,
            begunAt: iso(begunAt),
            finishedAt: iso(finishedAt ?? null),
            sealedAnew,
            runner: runner ?? null,
          })),
          nodes: nodes.map(({ host, pid, keys }) => ({ host, pid, keys: [...keys] })),
        }
      },
    }),
  ]
}
