#!/usr/bin/env node
import { CommanderError } from 'commander'
import { exitCodeOf } from './exitCodes.ts'
import { createOutput } from './output.ts'
import { createProgram } from './program.ts'

try {
  await createProgram().parseAsync()
} catch (error) {
  // Commander has said what is wrong already.
  if (!(error instanceof CommanderError)) createOutput(process.argv.includes('--json')).error(error)
  process.exitCode = exitCodeOf(error)
}
