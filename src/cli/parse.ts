import { InvalidArgumentError, Option } from 'commander'
import { isId, UsageError, type EventId, type Id, type IdPrefix, type RunId } from '../base/index.ts'

/** A whole number within bounds. */
export function wholeNumber(name: string, from: number, to: number): (text: string) => number {
  return (text) => {
    const value = Number(text)
    if (/^\d+$/.test(text) && value >= from && value <= to) return value
    throw new InvalidArgumentError(`Write a whole number from ${from} to ${to} as ${name}.`)
  }
}

export interface PageOptions {
  readonly limit: number
  readonly cursor?: string
}

/** Options of every list that has pages. */
export function pageOptions(fallback = 20): Option[] {
  return [
    new Option('-n, --limit <count>', 'how many, newest first')
      .argParser(wholeNumber('limit', 1, 200))
      .default(fallback),
    new Option('--cursor <next>', 'the page after one that --json gave "next" for'),
  ]
}

/** One word of a closed set. */
export function oneOf(words: readonly string[]): (text: string) => string {
  return (text) => {
    if (words.includes(text)) return text
    throw new InvalidArgumentError(`There are: ${words.join(', ')}.`)
  }
}

/** Collects what an option is given several times. */
export function collect(text: string, before: readonly string[] | undefined): string[] {
  return [...(before ?? []), text]
}

/** `name=value` pairs as an object. */
export function pairs(given: readonly string[] | undefined, option: string): Record<string, string> {
  return Object.fromEntries(
    (given ?? []).map((text) => {
      const at = text.indexOf('=')
      if (at > 0) return [text.slice(0, at), text.slice(at + 1)] as const
      throw new UsageError(
        'option_invalid',
        `${option} ${text} is no pair. Write it as ${option} name=value.`,
      )
    }),
  )
}

function requireId<P extends IdPrefix>(prefix: P, what: string, text: string): Id<P> {
  if (isId(prefix, text)) return text
  throw new UsageError('id_invalid', `"${text}" is not the id of ${what}: those begin with ${prefix}_.`)
}

export const runId = (text: string): RunId => requireId('run', 'a run', text)
export const eventId = (text: string): EventId => requireId('evt', 'an event', text)
export const incidentId = (text: string): string => requireId('inc', 'an incident', text)
export const tokenId = (text: string): string => requireId('tok', 'a token', text)
export const quarantineId = (text: string): string => requireId('qrn', 'something quarantined', text)
