import type { Command } from 'commander'
import { describe, expect, it } from 'vitest'
import { fullName } from './command.ts'
import { createProgram, everyCommand } from './program.ts'

const program = createProgram()
const leaves = everyCommand(program).filter((command) => command.commands.length === 0)

function helpOf(command: Command): string {
  let text = ''
  command.configureOutput({ writeOut: (part) => (text += part) })
  command.outputHelp()
  return text
}

describe('the command line', () => {
  it.each(leaves.map((command) => [fullName(command), command] as const))(
    '%s shows an example of itself',
    (name, command) => {
      const examples = helpOf(command).split('Examples:\n')[1] ?? ''
      const first = examples.split('\n').find((line) => line.includes('trestle'))
      expect(examples).toContain(name.split(' ').slice(0, 2).join(' '))
      expect(first).toMatch(/^ {2}\$ /)
    },
  )

  it.each(leaves.map((command) => [fullName(command), command] as const))(
    '%s can answer in JSON',
    (_, command) => {
      expect(command.options.map((option) => option.long)).toContain('--json')
    },
  )

  it('tells its exit codes', () => {
    const help = helpOf(program)
    for (const code of ['0  done', '1  failed', '2  usage', '3  not found', '4  unavailable'])
      expect(help).toContain(code)
  })

  it('uses no flag for two things, and no two commands have one name', () => {
    for (const command of everyCommand(program)) {
      const flags = command.options.flatMap((option) => [option.short, option.long]).filter(Boolean)
      expect(new Set(flags).size).toBe(flags.length)
      const names = command.commands.map((one) => one.name())
      expect(new Set(names).size).toBe(names.length)
    }
  })
})
