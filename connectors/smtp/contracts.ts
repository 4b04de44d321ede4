/** What goes into a mail, and what a mail server answers. Addresses and headers are judged where the mail is made. */
import { z } from 'zod'

const line = z.string().max(998)
const addresses = z.array(line).max(100)

export const mailInput = z.object({
  /** `'ada@example.com'`, or `'Ada Lovelace <ada@example.com>'`. */
  from: line,
  to: addresses.min(1),
  cc: addresses.optional(),
  bcc: addresses.optional(),
  replyTo: line.optional(),
  subject: line,
  text: z.string().optional(),
  html: z.string().optional(),
  headers: z.record(z.string(), line).optional(),
  attachments: z
    .array(z.object({ filename: z.string(), contentType: z.string().optional(), base64: z.string() }))
    .max(50)
    .optional(),
})

const reply = { code: z.number().int(), enhanced: z.string().nullable(), text: z.string() }

export const sentAnswer = z.object({
  messageId: z.string(),
  accepted: z.array(z.string()).min(1),
  rejected: z.array(z.object({ address: z.string(), ...reply })),
  reply: z.object(reply),
})
export type SentMail = z.infer<typeof sentAnswer>

export const emptyInput = z.object({})
export const greetingAnswer = z.object({ reply: z.object(reply) })
