import type { CommandContext } from './command.ts'
import type { LocalApi } from './localApi.ts'
import type { Session } from './session.ts'

/**
 * Opens the installation and hands its API to one piece of work. What that needs is loaded only here, so that help
 * and a mistake on the command line are answered at once.
 */
export async function withApi<Result>(
  { withSession, actor }: CommandContext,
  work: (api: LocalApi, session: Session) => Promise<Result>,
  /** Whose data it is about. Default: that of the command line. */
  tenant?: string,
): Promise<Result> {
  const { createLocalApi } = await import('./localApi.ts')
  return withSession((session) => work(createLocalApi(session, actor, tenant), session))
}
