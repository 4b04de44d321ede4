import type { Command } from 'commander'
import { addGroup } from '../command.ts'
import { replayRunCommand } from './replay.ts'
import { cancelRunCommand, retryRunCommand, settleRunCommand } from './runs/act.ts'
import { listRunsCommand } from './runs/list.ts'
import { migrateRunCommand } from './runs/migrate.ts'
import { showRunCommand } from './runs/show.ts'

/** `trestle runs`: what flows did and do. */
export function addRuns(program: Command): void {
  const runs = addGroup(program, 'runs', 'what flows did and do')
  listRunsCommand(runs)
  showRunCommand(runs)
  retryRunCommand(runs)
  migrateRunCommand(runs)
  replayRunCommand(runs)
  cancelRunCommand(runs)
  settleRunCommand(runs)
}

/** `trestle cancel`: as `trestle runs cancel`. */
export function addCancel(program: Command): void {
  cancelRunCommand(program)
}
