import type { MailReply } from '../../base/index.ts'

/** Longest text of a reply that is kept. */
const LONGEST_TEXT = 500

/**
 * Reads a reply of a mail server (RFC 5321, 4.2), of one line or several, with its enhanced status (RFC 2034, 4).
 * `undefined` for what is no reply.
 */
export function replyOf(text: string): MailReply | undefined {
  const lines = text.split(/\r?\n/).filter((line) => line !== '')
  const parts = lines.map((line) =>
    /^([2-5]\d\d)(?:[ -](?:([245]\.\d{1,3}\.\d{1,3})(?= |$))?(.*))?$/.exec(line),
  )
  const code = parts[0]?.[1]
  if (code === undefined) return undefined
  const words = parts.map((part, i) => (part === null ? lines[i]! : (part[3] ?? '')).trim())
  return {
    code: Number(code),
    enhanced: parts[0]?.[2] ?? null,
    text: words
      .filter((word) => word !== '')
      .join(' ')
      .slice(0, LONGEST_TEXT),
  }
}

/** Whether a reply says that what was asked is not done: not now, or never (RFC 5321, 4.2.1). */
export function isRefusal(reply: MailReply | undefined): reply is MailReply {
  return reply !== undefined && reply.code >= 400
}
