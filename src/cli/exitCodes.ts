import { CommanderError } from 'commander'
import { NotFoundError, RetryableError, UsageError } from '../base/index.ts'

/** What a command's exit code says. Documented in `trestle --help`. */
export const EXIT = {
  /** Done. */
  ok: 0,
  /** It was tried and did not succeed, or a check found something wrong. */
  failed: 1,
  /** The command line or the configuration has a mistake: mend it and ask again. */
  usage: 2,
  /** What was named is not there. */
  notFound: 3,
  /** The database or a port cannot be used now: the same may succeed later. */
  unavailable: 4,
} as const
export type ExitCode = (typeof EXIT)[keyof typeof EXIT]

/** The meaning of each code, for `--help` and the guide. */
export const EXIT_WORDS: Readonly<Record<ExitCode, string>> = {
  0: 'done',
  1: 'failed: it was tried and did not succeed, or a check found something wrong',
  2: 'usage: the command line or the configuration has a mistake',
  3: 'not found: what was named is not there',
  4: 'unavailable: the database or the port cannot be used now; try again later',
}

/** What the error's class says to do, as an exit code. */
export function exitCodeOf(error: unknown): ExitCode {
  // Commander's own: help and version end with 0, a mistake on the command line with 1.
  if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.ok : EXIT.usage
  if (error instanceof UsageError) return CONFLICTS.has(error.code) ? EXIT.failed : EXIT.usage
  if (error instanceof NotFoundError) return EXIT.notFound
  const status = httpStatusOf(error)
  if (status !== undefined)
    return status === 404 ? EXIT.notFound : status >= 500 ? EXIT.unavailable : EXIT.usage
  if (error instanceof RetryableError || isUnreachable(error)) return EXIT.unavailable
  return EXIT.failed
}

/** The command line was right, but the state of things does not allow it. */
const CONFLICTS: ReadonlySet<string> = new Set([
  'state_conflict',
  'effects_repeated',
  'effects_forgotten',
  'version_conflict',
  'still_quarantined',
  'step_unknown',
  'no_flow',
  'connection_declared',
  'nodes_lack_key',
  'rotation_under_way',
  'rotation_stopped',
])

/** Errors of the API's routes carry the status that they would be answered with. */
function httpStatusOf(error: unknown): number | undefined {
  const problem = (error as { problem?: { status?: unknown } } | null)?.problem
  return typeof problem?.status === 'number' ? problem.status : undefined
}

/** Faults of the database's own client, which have no class of ours. */
function isUnreachable(error: unknown): boolean {
  const code = (error as { code?: unknown } | null)?.code
  return (
    typeof code === 'string' &&
    /^(ECONNREFUSED|ECONNRESET|ENOTFOUND|ETIMEDOUT|57P0[123]|53300|28\w{3}|3D000)$/.test(code)
  )
}
