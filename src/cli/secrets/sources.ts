import { readFile } from 'node:fs/promises'
import { UsageError } from '../../base/index.ts'
import { askHidden, canAsk, type Terminal } from './prompt.ts'

/** Where a secret is to be read from; never the command line itself, which others can see. */
export type SecretSource =
  | { readonly from: 'prompt' }
  | { readonly from: 'stdin' }
  | { readonly from: 'environment'; readonly name: string }
  | { readonly from: 'file'; readonly path: string }

export interface WantedSecret {
  readonly field: string
  readonly source: SecretSource
}

/** What `--secret` and `--secret-file` ask for, in their order. Refuses a secret that stands on the command line. */
export function wantedSecrets(
  secrets: readonly string[] = [],
  files: readonly string[] = [],
): readonly WantedSecret[] {
  const wanted = [...secrets.map(sourceOf), ...files.map(fileSourceOf)]
  if (wanted.filter(({ source }) => source.from === 'stdin').length > 1)
    throw new UsageError(
      'secret_source_invalid',
      'Only one secret can come from stdin. Give the others with --secret-file FIELD=PATH.',
    )
  return wanted
}

function sourceOf(text: string): WantedSecret {
  const [field, value] = split(text)
  if (value === undefined || value === 'prompt') return { field, source: { from: 'prompt' } }
  if (value === 'stdin') return { field, source: { from: 'stdin' } }
  if (/^env:./.test(value))
    return { field, source: { from: 'environment', name: value.slice('env:'.length) } }
  throw new UsageError(
    'secret_on_command_line',
    `A secret on the command line can be read by every user of this machine, and stays in the shell's history. Write --secret ${field}=prompt, --secret ${field}=stdin, --secret ${field}=env:VARIABLE or --secret-file ${field}=PATH. If this one is real, change it at the provider now.`,
  )
}

function fileSourceOf(text: string): WantedSecret {
  const [field, path] = split(text)
  if (path === undefined || path === '')
    throw new UsageError('option_invalid', `Write --secret-file ${field || 'FIELD'}=PATH.`)
  return { field, source: { from: 'file', path } }
}

function split(text: string): [field: string, value?: string] {
  const at = text.indexOf('=')
  return at === -1 ? [text] : [text.slice(0, at), text.slice(at + 1)]
}

/** Reads one secret. A line break at the end of a file or of stdin is not part of it. */
export async function readSecret(
  { field, source }: WantedSecret,
  at: { readonly terminal: Terminal; readonly environment: NodeJS.ProcessEnv; readonly question?: string },
): Promise<string> {
  switch (source.from) {
    case 'prompt':
      if (!canAsk(at.terminal)) throw noTerminal(field)
      return askHidden(at.question ?? field, at.terminal)
    case 'stdin':
      return withoutLineBreak(await readAll(at.terminal.input))
    case 'environment': {
      const value = at.environment[source.name]
      if (value !== undefined && value !== '') return value
      throw new UsageError(
        'secret_source_invalid',
        `The environment variable ${source.name} for "${field}" is not set. Set it, or use --secret ${field}=prompt.`,
      )
    }
    case 'file':
      return withoutLineBreak(
        await readFile(source.path, 'utf8').catch((cause: NodeJS.ErrnoException) => {
          throw new UsageError(
            'secret_source_invalid',
            `The file ${source.path} for "${field}" cannot be read (${cause.code}).`,
            { cause },
          )
        }),
      )
  }
}

function noTerminal(field: string): UsageError {
  return new UsageError(
    'secret_missing',
    `The secret "${field}" is needed, and there is no terminal to ask on. Give it with --secret ${field}=stdin, --secret ${field}=env:VARIABLE or --secret-file ${field}=PATH.`,
  )
}

function withoutLineBreak(text: string): string {
  return text.replace(/\r?\n$/, '')
}

export async function readAll(input: NodeJS.ReadableStream): Promise<string> {
  const chunks: Buffer[] = []
  for await (const chunk of input) chunks.push(Buffer.from(chunk))
  return Buffer.concat(chunks).toString('utf8')
}
