import { expect, it } from 'vitest'
import { SECOND } from '../../base/index.ts'
import { createFakeClock } from '../../testing/fakeClock.ts'
import type { ApiDeps } from '../deps.ts'
import { createRouter } from '../http/router.ts'
import { addAuthorizing } from './index.ts'

it('a person who has agreed, and waits too long, is told that it goes on and not to begin again yet', async () => {
  const clock = createFakeClock()
  let isAsked = (): void => undefined
  const asked = new Promise<void>((resolve) => (isAsked = resolve))
  const callback = (): Promise<never> => {
    isAsked()
    return new Promise(() => {})
  }
  const deps = { clock, vault: { authorizations: { callback } } } as unknown as ApiDeps
  const router = createRouter(deps)
  addAuthorizing(router, deps)
  const answered = router.request('/oauth/callback/crm?code=c&state=s')
  await asked
  await clock.advance(45 * SECOND)
  const page = await (await answered).text()
  expect(page).toContain('authorization_unfinished')
  expect(page).toContain('Do not begin again yet, and leave Trestle running.')
  expect(page).not.toContain('deadline_exceeded')
})
