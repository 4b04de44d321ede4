import { Command } from 'commander'
import { addAudit } from './commands/audit.ts'
import { addBackup } from './commands/backup.ts'
import { addBudgets } from './commands/budgets.ts'
import { addConnections } from './commands/connections.ts'
import { addDb } from './commands/db.ts'
import { addDev } from './commands/dev.ts'
import { addDoctor } from './commands/doctor.ts'
import { addEmit } from './commands/emit.ts'
import { addEvents } from './commands/events.ts'
import { addFlows } from './commands/flows.ts'
import { addHold } from './commands/hold.ts'
import { addIncidents } from './commands/incidents.ts'
import { addInit } from './commands/init.ts'
import { addLanes } from './commands/lanes.ts'
import { addLedger } from './commands/ledger.ts'
import { addOutages } from './commands/outages.ts'
import { addProve } from './commands/prove.ts'
import { addQuarantine } from './commands/quarantine.ts'
import { addReplay } from './commands/replay.ts'
import { addRestore } from './commands/restore.ts'
import { addSchedules } from './commands/schedules.ts'
import { addServe } from './commands/serve.ts'
import { addCancel, addRuns } from './commands/runs.ts'
import { addDeadLetters } from './commands/runs/list.ts'
import { addTokens } from './commands/tokens.ts'
import { addVault } from './commands/vault.ts'
import { fullName } from './command.ts'
import { EXIT_WORDS } from './exitCodes.ts'
import { version } from './version.ts'

/** In the order of `trestle --help`: as a newcomer meets them. */
const COMMANDS = [
  addInit,
  addDev,
  addServe,
  addEmit,
  addEvents,
  addRuns,
  addFlows,
  addReplay,
  addCancel,
  addDeadLetters,
  addLanes,
  addQuarantine,
  addIncidents,
  addSchedules,
  addConnections,
  addBudgets,
  addOutages,
  addTokens,
  addVault,
  addLedger,
  addAudit,
  addBackup,
  addRestore,
  addHold,
  addDb,
  addDoctor,
  addProve,
]

/** The whole command line. Mistakes end with exit code 2 and a sentence on stderr. */
export function createProgram(): Command {
  const program = new Command('trestle')
    .description(
      'Self-hosted, code-first platform for API integrations: webhooks in, durable flows, safe calls out.',
    )
    .version(version(), '-V, --version', 'the version of Trestle')
    .helpOption('-h, --help', 'what a command does, with an example')
    .showSuggestionAfterError()
    .configureOutput({ outputError: (text, write) => write(text.replace(/^error: /, 'error ')) })
    .addHelpText('after', afterHelp())
  for (const add of COMMANDS) add(program)
  for (const command of everyCommand(program))
    command.exitOverride().showHelpAfterError(`See: ${fullName(command)} --help`)
  return program
}

/** The command itself and all below it. */
export function everyCommand(command: Command): Command[] {
  return [command, ...command.commands.flatMap(everyCommand)]
}

function afterHelp(): string {
  const codes = Object.entries(EXIT_WORDS).map(([code, words]) => `  ${code}  ${words}`)
  return `
Exit codes:
${codes.join('\n')}

Examples:
  $ trestle init shop && cd shop && trestle dev
  $ trestle runs --state held
  $ trestle runs show run_01jd…`
}
