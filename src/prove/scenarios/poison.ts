import { atPointer, encodeJson, parseJson, type JsonValue } from '../../base/index.ts'
import { checkAnswer, checkEvent } from '../../contracts/index.ts'
import type { AnyConnector, AnyOperation, Settings } from '../../define/index.ts'
import { signPayload } from '../../webhooks/index.ts'
import type { Mail } from '../simulation/postOffice.ts'

/** How deep fields are looked for that a contract needs. */
const DEPTH = 3
/** Fields looked at in one answer or event. */
const MOST = 200

type JsonObject = Record<string, JsonValue>

/** The dotted path of a field without which the answer breaks the operation's contract; `undefined`: none was found. */
export function fieldThatAnswersNeed(
  operation: AnyOperation,
  answer: {
    readonly status: number
    readonly headers: Readonly<Record<string, string>>
    readonly body: Buffer
  },
  input: unknown,
): string | undefined {
  const json = readJson(answer.body)
  if (json === undefined) return undefined
  return pathsOf(json).find((path) => {
    const without = withoutField(json, path)
    try {
      const raw = operation.answer
        ? operation.answer({ ...answer, json: without, text: encodeJson(without) }, input)
        : without
      return checkAnswer(operation.output, raw).as === 'broken'
    } catch {
      return false // It cannot be read at all without it, which is another fault.
    }
  })
}

/** A webhook that lacks a field which its contract needs, signed as its provider would; `undefined`: it cannot be made. */
export function poisonedMail(
  mail: Mail,
  connector: AnyConnector,
  options: {
    /** Of the event. */
    readonly type: string
    readonly secrets: readonly string[]
    readonly settings: Settings
    readonly publicUrl: string
    readonly at: number
  },
): { readonly mail: Pick<Mail, 'headers' | 'body'>; readonly path: string } | undefined {
  const { webhooks } = connector
  const json = readJson(mail.body)
  if (!webhooks || webhooks.signature === 'none' || json === undefined) return undefined
  if ('kind' in webhooks.signature) return undefined
  const events = webhooks.events({ body: json, headers: mail.headers, settings: options.settings })
  const event = events.find(({ type }) => type === options.type)
  const schema = event && connector.events[event.type]?.schema
  const data = event && atPointer(json, event.at)
  if (!schema || data === undefined) return undefined
  const path = pathsOf(data).find((one) => checkEvent(schema, withoutField(data, one)).as === 'broken')
  if (path === undefined) return undefined
  const place = [...event.at.split('/').slice(1), ...path.split('.')].join('.')
  const body = Buffer.from(encodeJson(withoutField(json, place)))
  const { idHeader } = webhooks.signature
  const id = idHeader === undefined ? undefined : mail.headers[idHeader]
  const contentType = mail.headers['content-type']
  const signed = signPayload(
    webhooks.signature,
    {
      url: options.publicUrl + mail.target,
      body,
      at: options.at,
      ...(contentType === undefined ? {} : { contentType }),
      ...(id === undefined ? {} : { id }),
    },
    options.secrets,
  )
  return { mail: { headers: { ...mail.headers, ...signed.headers }, body }, path }
}

function readJson(body: Buffer): JsonValue | undefined {
  try {
    return parseJson(body)
  } catch {
    return undefined
  }
}

/** Dotted paths of fields, the outer ones first. */
function pathsOf(json: JsonValue): readonly string[] {
  const paths: string[] = []
  let level: { readonly path: string; readonly value: JsonValue }[] = [{ path: '', value: json }]
  for (let depth = 0; depth < DEPTH; depth++) {
    const below = level.flatMap(({ path, value }) =>
      Object.entries(childrenOf(value)).map(([key, child]) => ({
        path: path === '' ? key : `${path}.${key}`,
        value: child,
      })),
    )
    paths.push(...below.map(({ path }) => path))
    level = below
  }
  return paths.slice(0, MOST)
}

function childrenOf(value: JsonValue): JsonObject {
  return typeof value === 'object' && value !== null && isPlain(value) ? (value as JsonObject) : {}
}

/** Numbers that are kept as they came are objects, too. */
function isPlain(value: object): boolean {
  return Array.isArray(value) || Object.getPrototypeOf(value) === Object.prototype
}

function withoutField(json: JsonValue, path: string): JsonValue {
  const [key = '', ...rest] = path.split('.')
  if (Array.isArray(json))
    return rest.length === 0
      ? json.filter((_, i) => String(i) !== key)
      : json.map((one, i) => (String(i) === key ? withoutField(one, rest.join('.')) : one))
  if (typeof json !== 'object' || json === null) return json
  const { [key]: field, ...others } = json as JsonObject
  if (rest.length === 0 || field === undefined) return others
  // In its place, so that nothing else about the body changes.
  return Object.fromEntries(
    Object.entries(json as JsonObject).map(([name, value]) => [
      name,
      name === key ? withoutField(value, rest.join('.')) : value,
    ]),
  )
}
