/**
 * Mails out, by SMTP: what a mail's bytes are, and one session with a server.
 *
 * 1. Nothing is accepted before the line with the final dot: all that breaks before it is `not_sent`.
 * 2. That line is written at most once, by one place, and not without leave (`mayLeave`) and time.
 * 3. Neither password nor mail is written before TLS, unless the server is to be used without it, which only a
 *    private address may.
 */
export { composeMail, type ComposedMail, type MailMarks } from './compose.ts'
export type { MailExchangeRequest } from './exchange.ts'
export { sendMail } from './send.ts'
