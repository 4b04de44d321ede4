import { expect, it } from 'vitest'
import { createFakeClock } from '../../testing/fakeClock.ts'
import { openServer } from '../server.fixture.ts'
import { endWithSession, SESSION_CHECK_MS } from './sessionWatch.ts'
import { ViewerStream } from './viewerStream.ts'

it('asks again and again while the viewer may watch or nobody knows, and ends the stream once they may not', async () => {
  const clock = createFakeClock()
  const answers: (boolean | Error)[] = [true, new Error('away'), true, false, false]
  const faults: unknown[] = []
  let ended = 0
  const viewer = new ViewerStream(undefined, () => ended++)
  endWithSession(viewer, {
    clock,
    isStillIn: () => {
      const answer = answers.shift()!
      return answer instanceof Error ? Promise.reject(answer) : Promise.resolve(answer)
    },
    onFault: (error) => faults.push(error),
  })
  for (let i = 0; i < 3; i++) await clock.advance(SESSION_CHECK_MS)
  expect([ended, faults.length, answers.length]).toEqual([0, 1, 2])
  for (let i = 0; i < 3; i++) await clock.advance(SESSION_CHECK_MS)
  // Once it has ended nobody is asked any more.
  expect([ended, answers.length]).toEqual([1, 1])
})

it.each(['revoked', 'expired', 'left'])(
  'a stream of the live page ends when its token is %s',
  async (how) => {
    const clock = createFakeClock()
    const server = await openServer({ idle: true, over: { clock } })
    try {
      const { tokens } = server.vault
      const made = await tokens.create({ tenant: 'default', name: 'eyes', actor: 'operator:test' })
      const body = new URLSearchParams({ token: made.token })
      const entered = await fetch(`${server.url}/live/enter`, { method: 'POST', body })
      const cookie = entered.headers.get('set-cookie')!.split(';', 1)[0]!
      const stream = await fetch(`${server.url}/live/stream`, { headers: { cookie } })
      expect(stream.status).toBe(200)
      if (how === 'revoked') await tokens.revoke('default', made.id, 'operator:test')
      else if (how === 'expired')
        await tokens.rotate('default', made.id, { actor: 'operator:test', overlapMs: 0 })
      else await fetch(`${server.url}/live/leave`, { method: 'POST', headers: { cookie } })
      await clock.advance(SESSION_CHECK_MS)
      await stream.text() // It has an end.
      expect((await fetch(`${server.url}/live/stream`, { headers: { cookie } })).status).toBe(401)
    } finally {
      await server.close()
    }
  },
)
