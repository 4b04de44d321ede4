import { encodeJson } from '../../base/index.ts'

/** JSON that is put into an answer as it is: what was stored stays lossless, however deep it is. */
export class JsonText {
  readonly text: string

  constructor(text: string | Uint8Array) {
    this.text = typeof text === 'string' ? text : Buffer.from(text).toString('utf8')
  }
}

/** Writes an answer. Keys whose value is `undefined` are left out. */
export function writeJson(value: unknown): string {
  if (value instanceof JsonText) return value.text
  if (Array.isArray(value)) return `[${value.map(writeJson).join(',')}]`
  if (value === null || typeof value !== 'object' || Object.getPrototypeOf(value) !== Object.prototype)
    return encodeJson(value)
  const members = Object.entries(value)
    .filter(([, member]) => member !== undefined)
    .map(([name, member]) => `${JSON.stringify(name)}:${writeJson(member)}`)
  return `{${members.join(',')}}`
}
