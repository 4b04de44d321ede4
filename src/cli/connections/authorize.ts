import { pause, PermanentError, RetryableError, SECOND, UsageError } from '../../base/index.ts'
import { completeSchemes, isAuthorizedByPerson } from '../../define/index.ts'
import type { CommandContext } from '../command.ts'
import type { LocalApi } from '../localApi.ts'
import type { Session } from '../session.ts'
import { openBrowser } from './openBrowser.ts'

export interface AuthorizeOptions {
  /** Where `false`, the address is printed, and no browser opened. */
  readonly browser: boolean
  /** Which account to take where the authorization opens several. */
  readonly account: string | undefined
}

interface AuthorizationView {
  readonly id: string
  readonly state: string
  readonly code: string | null
  readonly reason: string | null
  readonly choices: readonly { readonly id: string; readonly name: string }[]
  readonly endsAt: string
  readonly address?: string
}

/** A token endpoint, the account and a commit that is tried again: longer, and something is wrong. */
const GRANT_WITHIN_MS = 60 * SECOND

/** Whether `connections add` goes on in the browser: a person has to agree, and gave no other credential. */
export async function needsBrowser(
  { installation: { vault, connectorNamed }, tenant }: Session,
  name: string,
  given: readonly string[],
): Promise<boolean> {
  const connection = await vault.loadConnection(tenant, name)
  const { auth, connector } = connection
  if (auth === undefined || !isAuthorizedByPerson(auth) || auth.authorizeUrl === undefined) return false
  if (completeSchemes(connectorNamed(connector)!.auth, given).length > 0) return false
  return connection.state === 'needs_reauthorization' || given.length === 0
}

/** Begins an authorization, shows the way to the browser, and waits until it is over. Ctrl-C cancels it. */
export async function authorizeInBrowser(
  context: CommandContext,
  session: Session,
  api: LocalApi,
  name: string,
  options: AuthorizeOptions,
): Promise<void> {
  const { output, clock } = context
  await refuseUnreachable(session, context)
  const begun = (
    await api.post('/connections/{name}/authorizations', {
      params: { name },
      body: options.account === undefined ? {} : { account: options.account },
    })
  ).value as AuthorizationView & { readonly address: string }
  let isOver = false
  session.beforeClose(async () => {
    if (!isOver) await api.post('/authorizations/{id}/cancel', { params: { id: begun.id } })
  })
  const forget = options.browser ? await openBrowser(begun.address, process.env) : undefined
  process.stderr.write(
    forget
      ? `A browser opens, where you agree. If it does not, open this address:\n${begun.address}\n`
      : `Open this address in a browser, and agree there:\n${begun.address}\n`,
  )
  const progress = output.progress('Waiting for you to agree in the browser, Ctrl-C stops; seconds')
  const began = clock.monotonic()
  try {
    const ended = await waitFor(begun, context, api, (seconds) => progress.to(seconds, secondsOf(begun)))
    isOver = true
    refuseUngranted(ended, name)
  } finally {
    progress.end()
    await forget?.()
  }
  output.notice(`Authorized after ${Math.round((clock.monotonic() - began) / SECOND)} s.`)

  function secondsOf({ endsAt }: AuthorizationView): number {
    return Math.round((Date.parse(endsAt) - clock.now() + (clock.monotonic() - began)) / SECOND)
  }
}

/** Looks every second until it is over, or waits longer than anything in it may take. */
async function waitFor(
  begun: AuthorizationView,
  { clock, output }: CommandContext,
  api: LocalApi,
  onSecond: (seconds: number) => void,
): Promise<AuthorizationView> {
  const began = clock.monotonic()
  let agreedAt: number | undefined
  let toldOfChoices = false
  for (;;) {
    const { value } = await api.get('/authorizations/{id}', { params: { id: begun.id } })
    const now = value as AuthorizationView
    if (['granted', 'failed', 'cancelled', 'expired'].includes(now.state)) return now
    if (now.state === 'asking' || now.state === 'answered') {
      agreedAt ??= clock.monotonic()
      if (clock.monotonic() - agreedAt > GRANT_WITHIN_MS) return now
    }
    if (now.state === 'choosing' && !toldOfChoices) {
      toldOfChoices = true
      output.notice(
        `It opens several accounts; choose in the browser:\n${now.choices.map((one) => `  ${one.id}  ${one.name}`).join('\n')}`,
      )
    }
    onSecond(Math.round((clock.monotonic() - began) / SECOND))
    await pause(clock, SECOND, { keepAlive: true })
  }
}

function refuseUngranted({ state, code, reason }: AuthorizationView, name: string): void {
  const again = `Begin again with: trestle connections add ${name}`
  if (state === 'failed') throw new PermanentError(code ?? 'authorization_failed', reason ?? again)
  if (state === 'cancelled')
    throw new PermanentError('authorization_cancelled', `The authorization was cancelled. ${again}`)
  if (state === 'expired')
    throw new PermanentError('authorization_expired', `Nobody agreed in time. ${again}`)
  if (state !== 'granted')
    throw new RetryableError(
      'authorization_unfinished',
      `The provider agreed, and what it sent is kept; Trestle goes on by itself. ${reason ?? ''} See how it ends with: trestle connections list`,
    )
}

/** The browser is sent back to the public address: where nothing answers there, nobody should agree in vain. */
async function refuseUnreachable(
  { installation: { config, egress } }: Session,
  { output }: CommandContext,
): Promise<void> {
  const publicUrl = config.publicUrl ?? 'http://localhost:3000'
  const { hostname } = new URL(publicUrl)
  const isHere = ['localhost', '127.0.0.1', '[::1]'].includes(hostname)
  const answer = await egress.send({
    method: 'GET',
    url: `${publicUrl}/health`,
    headers: {},
    timeoutMs: 5 * SECOND,
    allowPrivate: true,
  })
  if (answer.as === 'answered' && answer.status === 200) return
  const what = `Nothing of Trestle answers at ${publicUrl}/health, and the provider sends the browser back to that address.`
  if (!isHere) return output.notice(`${what} Go on if browsers reach it although this machine does not.`)
  throw new UsageError(
    'server_unreachable',
    `${what} Start Trestle (trestle dev), or set publicUrl in trestle.config.ts to where it listens.`,
  )
}
