import { CommanderError } from 'commander'
import { expect, it } from 'vitest'
import { NotFoundError, PermanentError, RetryableError, UsageError } from '../base/index.ts'
import { exitCodeOf } from './exitCodes.ts'

it.each([
  [new CommanderError(0, 'commander.helpDisplayed', ''), 0],
  [new CommanderError(1, 'commander.unknownOption', ''), 2],
  [new UsageError('config_invalid', ''), 2],
  // The command line was right; the run's state does not allow it.
  [new UsageError('state_conflict', ''), 1],
  [new NotFoundError('run', 'run_1'), 3],
  [new RetryableError('database_unavailable', ''), 4],
  [new PermanentError('migration_failed', ''), 1],
  [Object.assign(new Error('refused'), { code: 'ECONNREFUSED' }), 4],
  [Object.assign(new Error('not found'), { problem: { status: 404 } }), 3],
  [Object.assign(new Error('no such event type'), { problem: { status: 422 } }), 2],
  [Object.assign(new Error('away'), { problem: { status: 503 } }), 4],
  [new TypeError('a fault of ours'), 1],
  ['text', 1],
])('%s ends with %i', (error, code) => {
  expect(exitCodeOf(error)).toBe(code)
})
