import { parseJson, type JsonValue } from '../../base/index.ts'
import { baseUrlFor, isPartOfHost, type AccountFact, type OAuth2Scheme } from '../../define/index.ts'
import type { Egress } from '../../egress/index.ts'
import type { Account } from '../account.ts'
import type { Connection } from '../connections.ts'
import { oauthAddress } from './addresses.ts'
import type { AccountChoice } from './store.ts'

/** What an authorization brought, from which the account is read. */
export interface Brought {
  readonly connection: Connection
  readonly scheme: OAuth2Scheme
  readonly parameters: Readonly<Record<string, string>>
  /** The token endpoint's answer as it came. */
  readonly raw: string
  readonly accessToken: string | undefined
  /** The account that was asked for, or chosen. */
  readonly wanted: string | undefined
  /** The connector's base URL. A connection that has another keeps it. */
  readonly ownBaseUrl: string | undefined
}

export type FoundAccount =
  | { readonly as: 'found'; readonly account: Account }
  /** Several: a person says which. */
  | { readonly as: 'choose'; readonly choices: readonly AccountChoice[] }
  /** The provider does not answer now; it is asked again. */
  | { readonly as: 'unknown'; readonly code: string; readonly reason: string }
  | { readonly as: 'refused'; readonly code: string; readonly reason: string }

const TIMEOUT_MS = 20_000
/** Most accounts that are shown to choose from. */
const MOST_CHOICES = 200
const LONGEST_FACT = 500

type Read = { readonly as: 'value'; readonly value: string } | Exclude<FoundAccount, { as: 'found' }>

/** Reads the facts that the scheme names, and holds them against what the connection is for. */
export async function findAccount(brought: Brought, send: Egress['send']): Promise<FoundAccount> {
  const { connection, scheme } = brought
  const settings: Record<string, string> = {}
  let baseUrl: Account['baseUrl']
  for (const fact of scheme.account ?? []) {
    // A fact may be asked for at an address that one before it is a part of.
    const known = { ...connection.settings, ...settings }
    const at = { ...connection, baseUrl: baseUrlFor(connection, known) }
    const read = await readFact(fact, { ...brought, connection: at }, send)
    if (fact.optional === true && read.as === 'refused' && read.code === 'account_missing') continue
    if (read.as !== 'value') return read
    if (fact.to.kind === 'base_url') {
      if (connection.baseUrl !== brought.ownBaseUrl && !isOwnAccountUrl(connection, fact.to.hosts)) continue
      const url = baseUrlOf(fact.to, read.value)
      if (url === undefined)
        return refused(
          'account_invalid',
          `The provider names "${read.value}" as the account's address, which is not https at ${fact.to.hosts.join(' or ')}.`,
        )
      baseUrl = { url, insteadOf: brought.ownBaseUrl ?? connection.baseUrl }
      continue
    }
    const had = connection.settings[fact.to.name]
    if (had !== undefined && had !== read.value)
      return refused(
        'account_differs',
        `The connection "${connection.name}" is for ${fact.to.name} ${had}, and the authorization is for ${read.value}. Authorize it for the same account, or add a connection of another name for the other one.`,
      )
    // Nothing in what becomes a part of the base URL can lead to another host.
    if (connection.baseUrl.includes(`{${fact.to.name}}`) && !isPartOfHost(read.value))
      return refused(
        'account_invalid',
        `The provider names "${read.value}" as the account's ${fact.to.name}, which cannot be a part of its address.`,
      )
    settings[fact.to.name] = read.value
  }
  return { as: 'found', account: { settings, ...(baseUrl === undefined ? {} : { baseUrl }) } }
}

async function readFact(fact: AccountFact, brought: Brought, send: Egress['send']): Promise<Read> {
  const { from } = fact
  switch (from.kind) {
    case 'callback':
      return valueOf(brought.parameters[from.parameter], `the callback has no "${from.parameter}"`)
    case 'token_answer':
      return valueOf(
        fieldOf(parsed(brought.raw), from.field),
        `the token endpoint's answer has no "${from.field}"`,
      )
    case 'request': {
      const answer = await ask(from.url, from.scheme ?? 'Bearer', brought, send)
      if (answer.as !== 'answer') return answer
      return valueOf(fieldOf(answer.json, from.field), `${from.url} answered without "${from.field}"`)
    }
    default: {
      const answer = await ask(from.url, 'Bearer', brought, send)
      return answer.as === 'answer' ? choose(fact, from, answer.json, brought) : answer
    }
  }
}

function choose(
  fact: AccountFact,
  from: Extract<AccountFact['from'], { kind: 'choice' }>,
  json: JsonValue | undefined,
  { connection, wanted }: Brought,
): Read {
  const choices = (Array.isArray(json) ? json : []).flatMap((entry): AccountChoice[] => {
    const id = fieldOf(entry, from.id)
    if (id === undefined || (from.only && fieldOf(entry, from.only.field) !== from.only.is)) return []
    return [{ id, name: fieldOf(entry, from.name) ?? id }]
  })
  const known = fact.to.kind === 'setting' ? connection.settings[fact.to.name] : undefined
  const preferred = known ?? wanted
  if (preferred !== undefined) {
    if (choices.some(({ id }) => id === preferred)) return { as: 'value', value: preferred }
    return refused(
      'account_differs',
      `The connection "${connection.name}" is for ${preferred}, and the authorization opens ${choices.length === 0 ? 'no account' : choices.map(({ id, name }) => `${name} (${id})`).join(', ')}. Authorize it for the same account, or add a connection of another name.`,
    )
  }
  if (choices.length === 0)
    return refused('account_missing', 'The authorization opens no account. Choose one at the provider.')
  return choices.length === 1
    ? { as: 'value', value: choices[0]!.id }
    : { as: 'choose', choices: choices.slice(0, MOST_CHOICES) }
}

type Asked =
  | { readonly as: 'answer'; readonly json: JsonValue | undefined }
  | Extract<FoundAccount, { as: 'unknown' | 'refused' }>

async function ask(
  url: string,
  authorization: string,
  { connection, scheme, accessToken }: Brought,
  send: Egress['send'],
): Promise<Asked> {
  // It is not asked again: the answer that is kept stays as it is.
  if (accessToken === undefined)
    return refused(
      'token_answer_invalid',
      'The token endpoint gave no access token that could be used to ask for the account. Begin again.',
    )
  const result = await send({
    method: 'GET',
    url: oauthAddress(url, scheme, connection),
    headers: { authorization: `${authorization} ${accessToken}`, accept: 'application/json' },
    timeoutMs: TIMEOUT_MS,
    allowPrivate: connection.allowPrivateNetwork,
    onBehalfOf: { tenant: connection.tenant, connectionId: connection.id },
  })
  if (result.as !== 'answered') return unknown(result.reason)
  if (result.status === 200) return { as: 'answer', json: parsed(result.body.toString()) }
  if (result.status === 429 || result.status >= 500) return unknown(`${url} answered ${result.status}`)
  return refused(
    'account_refused',
    `The provider does not say which account it is: ${url} answered ${result.status}. Check the app's scopes.`,
  )
}

function unknown(why: string): Extract<FoundAccount, { as: 'unknown' }> {
  return { as: 'unknown', code: 'account_unknown', reason: `The provider was asked for the account: ${why}.` }
}

function refused(code: string, reason: string): Extract<FoundAccount, { as: 'refused' }> {
  return { as: 'refused', code, reason }
}

function valueOf(value: string | undefined, missing: string): Read {
  return value === undefined
    ? refused('account_missing', `The provider did not say which account it is: ${missing}.`)
    : { as: 'value', value }
}

/** A text or a number, as text; nothing that could not stand in a setting. */
function fieldOf(value: JsonValue | undefined, field: string): string | undefined {
  if (value === null || typeof value !== 'object' || Array.isArray(value)) return undefined
  const found = (value as Readonly<Record<string, JsonValue>>)[field]
  if (found === null || found === undefined || typeof found === 'object' || typeof found === 'boolean')
    return undefined
  const text = String(found)
  return text === '' || text.length > LONGEST_FACT || /\p{Cc}/u.test(text) ? undefined : text
}

function parsed(text: string): JsonValue | undefined {
  try {
    return parseJson(text)
  } catch {
    return undefined
  }
}

/** An address that came in an answer is followed only where the connector expects it. */
function baseUrlOf(
  { template = '{}', hosts }: Extract<AccountFact['to'], { kind: 'base_url' }>,
  fact: string,
): string | undefined {
  const text = template.replace('{}', () => fact).replace(/\/+$/, '')
  try {
    const url = new URL(text)
    const isPlain = url.username === '' && url.password === '' && url.search === '' && url.hash === ''
    return url.protocol === 'https:' && url.port === '' && isPlain && isAt(url.hostname, hosts)
      ? text
      : undefined
  } catch {
    return undefined
  }
}

/** Whether the base URL came from an authorization before. */
function isOwnAccountUrl({ baseUrl }: Connection, hosts: readonly string[]): boolean {
  return isAt(new URL(baseUrl).hostname, hosts)
}

function isAt(host: string, hosts: readonly string[]): boolean {
  return hosts.some((one) => host === one || host.endsWith(`.${one}`))
}
