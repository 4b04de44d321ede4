import { encodeJson, LosslessNumber } from '../base/index.ts'

const ONE_LINE = 60

/** JSON for people: lossless like {@link encodeJson}, indented by two; what is short stays on one line. */
export function prettyJson(value: unknown, indent = ''): string {
  if (value === null || typeof value !== 'object' || value instanceof LosslessNumber) return encodeJson(value)
  const inner = `${indent}  `
  const parts = Array.isArray(value)
    ? value.map((item) => prettyJson(item, inner))
    : Object.entries(value)
        .filter(([, member]) => member !== undefined)
        .map(([key, member]) => `${JSON.stringify(key)}: ${prettyJson(member, inner)}`)
  const [open, close] = Array.isArray(value) ? ['[', ']'] : ['{', '}']
  if (parts.length === 0) return `${open}${close}`
  const line = `${open} ${parts.join(', ')} ${close}`
  if (line.length <= ONE_LINE && !line.includes('\n')) return line
  return `${open}\n${parts.map((part) => inner + part).join(',\n')}\n${indent}${close}`
}
