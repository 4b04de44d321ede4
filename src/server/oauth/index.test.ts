import { PassThrough } from 'node:stream'
import { expect, it } from 'vitest'
import { SECOND } from '../../base/index.ts'
import { createFakeClock } from '../../testing/fakeClock.ts'
import type { ApiDeps } from '../deps.ts'
import { createRouter } from '../http/router.ts'
import { addAuthorizing } from './index.ts'

/** The page that a browser gets at last, where what it came for takes longer than it is waited for. */
async function pageOfLate(path: string, form?: string): Promise<string> {
  const clock = createFakeClock()
  let isAsked = (): void => undefined
  const asked = new Promise<void>((resolve) => (isAsked = resolve))
  const never = (): Promise<never> => {
    isAsked()
    return new Promise(() => {})
  }
  const authorizations = { open: never, callback: never, chooseInBrowser: never }
  const deps = { clock, vault: { authorizations } } as unknown as ApiDeps
  const router = createRouter(deps)
  addAuthorizing(router, deps)
  const incoming = Object.assign(new PassThrough().end(form), { headers: {} })
  const answered = router.request(path, { method: form === undefined ? 'GET' : 'POST' }, { incoming })
  await asked
  await clock.advance(45 * SECOND)
  return (await answered).text()
}

it.each([
  ['/oauth/callback/crm?code=c&state=s', undefined],
  ['/oauth/choose', 'authorization=a&account=s1'],
])(
  'a person who has agreed, and waits too long at %s, is told that it goes on and not to begin again yet',
  async (path, form) => {
    const page = await pageOfLate(path, form)
    expect(page).toContain('authorization_unfinished')
    expect(page).toContain('Do not begin again yet, and leave Trestle running.')
    expect(page).not.toContain('deadline_exceeded')
  },
)

it('a person who has not agreed yet is not told so: nothing goes on', async () => {
  const page = await pageOfLate('/oauth/start/ticket')
  expect(page).toContain('deadline_exceeded')
  expect(page).not.toMatch(/goes on|Do not begin again/)
})
