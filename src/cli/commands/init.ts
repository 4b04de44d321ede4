import { mkdir, readdir, writeFile } from 'node:fs/promises'
import { basename, dirname, join, relative, resolve } from 'node:path'
import type { Command } from 'commander'
import colors from 'picocolors'
import { systemRandom, UsageError, type Random } from '../../base/index.ts'
import { addCommand } from '../command.ts'
import { projectFiles, type ProjectFile } from '../init/files.ts'
import { originFor } from '../init/origin.ts'
import { packageFile, version } from '../version.ts'

/** `trestle init`: a project that runs. */
export function addInit(program: Command): void {
  addCommand(program, {
    usage: 'init <folder>',
    summary: 'write a new project with a first flow',
    details: 'The folder is made; one that holds something already is refused, and nothing is overwritten.',
    examples: ['trestle init shop && cd shop && npx trestle dev'],
    outsideProject: true,
    async run({ output }, [given = '']) {
      const folder = resolve(given)
      await refuseOccupied(folder)
      const origin = originFor(folder, { packageFile: packageFile(), version: version() })
      const files = projectFiles({
        name: packageName(basename(folder)),
        dependency: origin.dependency,
        signingSecret: newSigningSecret(systemRandom),
      })
      for (const file of files) await writeProjectFile(folder, file)
      const steps = nextSteps(relative(process.cwd(), folder) || '.', origin.reachable)
      output.answer(
        { folder, files: files.map((file) => file.path), trestle: origin.dependency, next: steps },
        () =>
          [
            `A project was written to ${folder}:`,
            ...files.map((file) => `  ${file.path}`),
            '',
            'Next:',
            ...steps.map((step) => `  ${colors.cyan(step)}`),
            'and in another terminal, in the same folder:',
            `  ${colors.cyan(EMIT)}`,
            `  ${colors.cyan('npx trestle runs')}`,
          ].join('\n'),
      )
    },
  })
}

const EMIT = 'npx trestle emit appointment.completed --data @events/appointment-completed.json'

function nextSteps(folder: string, reachable: boolean): string[] {
  return [
    ...(folder === '.' ? [] : [`cd ${/^[\w./-]+$/.test(folder) ? folder : `'${folder}'`}`]),
    ...(reachable ? [] : ['npm install']),
    'npx trestle dev',
  ]
}

async function refuseOccupied(folder: string): Promise<void> {
  const found = await readdir(folder).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return []
    if (error.code === 'ENOTDIR')
      throw new UsageError('folder_occupied', `${folder} is a file. Name a folder that is not there yet.`)
    throw error
  })
  const kept = found.filter((name) => name !== '.git')
  if (kept.length > 0)
    throw new UsageError(
      'folder_occupied',
      `${folder} is not empty (it has ${kept.slice(0, 3).join(', ')}${kept.length > 3 ? ', …' : ''}). Name a folder that is not there yet, or empty this one.`,
    )
}

async function writeProjectFile(folder: string, file: ProjectFile): Promise<void> {
  const path = join(folder, file.path)
  await mkdir(dirname(path), { recursive: true })
  await writeFile(path, file.text, { flag: 'wx', mode: file.secret === true ? 0o600 : 0o644 })
}

/** A name that npm takes: lower case, without spaces. */
function packageName(folder: string): string {
  const name = folder
    .toLowerCase()
    .replace(/[^a-z0-9-]+/g, '-')
    .replace(/^-+|-+$/g, '')
  return name === '' || name === 'trestle' ? 'my-flows' : name
}

/** Standard Webhooks: `whsec_` and the base64 of 24 to 64 random bytes. */
function newSigningSecret(random: Random): string {
  return `whsec_${random.bytes(32).toString('base64')}`
}
