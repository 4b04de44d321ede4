/** The authoring API: everything that connectors, flows and configurations import. */
export * from './base/duration.ts'
export * from './base/errors.ts'
export { LosslessNumber, textAt, type JsonValue } from './base/json.ts'
export type { Mail, MailAnswer, MailAttachment, MailReply, RejectedRecipient } from './base/mail.ts'
export { decimalToMinor, minorToDecimal, money } from './base/money.ts'
export * from './define/index.ts'
