import { createHash } from 'node:crypto'
import MailComposer from 'nodemailer/lib/mail-composer'
import { isOneLine, mailboxOf, PermanentError, type Mail, type Mailbox } from '../../base/index.ts'

/** A mail as it is sent: whom it goes to, and its bytes. */
export interface ComposedMail {
  /** The envelope (RFC 5321, 2.3.1), which may name others than the headers do. */
  readonly from: string
  readonly to: readonly string[]
  readonly messageId: string
  readonly subject: string
  /** RFC 5322 and MIME, with CRLF. */
  readonly bytes: Buffer
}

/** What is not its author's to say, and is the same in every attempt. */
export interface MailMarks {
  /** What the Message-ID is made of, before the sender's domain. */
  readonly id: string
  /** The Date header, in milliseconds since 1970. */
  readonly at: number
}

/** Most of everything. What a server takes may be less, and is for it to say. */
export const MAIL_LIMITS = { recipients: 100, headers: 50, attachments: 50, bytes: 25 * 1024 * 1024 } as const
/** RFC 5322, 2.1.1: no line is longer; longer ones are folded, but a name of a header cannot be. */
const LONGEST_HEADER = 998
const HEADER_NAME = /^[A-Za-z][A-Za-z0-9-]{0,75}$/
/** What a mail has anyway, and what only the servers on its way may write (RFC 5321, 4.4). */
const TAKEN =
  /^(from|sender|to|cc|bcc|reply-to|subject|date|message-id|mime-version|content-.*|return-path|received|resent-.*|dkim-signature|arc-.*)$/i
const CONTENT_TYPE = /^[\w!#$&^.+-]{1,100}\/[\w!#$&^.+-]{1,100}(; ?charset="?[\w-]{1,40}"?)?$/

/**
 * The bytes of a mail, by nodemailer: the same bytes for the same mail and marks. Throws a {@link PermanentError}
 * `mail_invalid` that names what is wrong, above all what would let one header or address be read as two.
 */
export async function composeMail(mail: Mail, { id, at }: MailMarks): Promise<ComposedMail> {
  const from = mailbox(mail.from, 'from')
  const [to, cc, bcc] = [mail.to, mail.cc ?? [], mail.bcc ?? []].map((list, i) =>
    list.map((text) => mailbox(text, ['to', 'cc', 'bcc'][i]!)),
  )
  const recipients = [...new Set([...to!, ...cc!, ...bcc!].map(({ address }) => address))]
  if (recipients.length === 0 || recipients.length > MAIL_LIMITS.recipients)
    throw invalid(`It has ${recipients.length} recipients; give 1 to ${MAIL_LIMITS.recipients}.`)
  checkSubject(mail.subject)
  checkHeaders(mail.headers ?? {})
  if ((mail.text ?? '') === '' && (mail.html ?? '') === '')
    throw invalid('It says nothing. Give "text", "html", or both.')
  const messageId = `<${id}@${from.address.slice(from.address.lastIndexOf('@') + 1)}>`
  const bytes = await new MailComposer({
    from,
    to: to!,
    cc: cc!,
    ...(mail.replyTo !== undefined && { replyTo: mailbox(mail.replyTo, 'replyTo') }),
    subject: mail.subject,
    text: mail.text,
    html: mail.html,
    headers: { ...mail.headers },
    attachments: attachmentsOf(mail),
    messageId,
    date: new Date(at),
    baseBoundary: createHash('sha256').update(messageId).digest('hex').slice(0, 16),
    newline: 'win',
    disableFileAccess: true,
    disableUrlAccess: true,
  })
    .compile()
    .build()
  const fault = faultOfLines(bytes)
  if (fault) throw invalid(fault)
  if (bytes.length > MAIL_LIMITS.bytes)
    throw invalid(
      `It is ${bytes.length} bytes as sent, and ${MAIL_LIMITS.bytes} is the most. Send a link instead of the file.`,
    )
  return { from: from.address, to: recipients, messageId, subject: mail.subject, bytes }
}

function mailbox(text: string, where: string): Mailbox {
  const read = mailboxOf(text)
  if (read) return read
  throw invalid(
    `"${where}" has ${JSON.stringify(text.slice(0, 100))}, which is not one address. Write 'ada@example.com' or 'Ada <ada@example.com>'.`,
  )
}

function checkSubject(subject: string): void {
  if (!isOneLine(subject) || subject.length > LONGEST_HEADER)
    throw invalid(`Its subject has a line break in it, or is longer than ${LONGEST_HEADER} characters.`)
}

function checkHeaders(headers: Readonly<Record<string, string>>): void {
  const all = Object.entries(headers)
  if (all.length > MAIL_LIMITS.headers)
    throw invalid(`It has ${all.length} headers of its own, and ${MAIL_LIMITS.headers} is the most.`)
  for (const [name, value] of all) {
    const shown = JSON.stringify(name.slice(0, 100))
    if (!HEADER_NAME.test(name)) throw invalid(`Its header ${shown} is no name for one.`)
    if (TAKEN.test(name)) throw invalid(`Its header ${shown} is set by the mail itself. Leave it out.`)
    if (!isOneLine(value) || value.length > LONGEST_HEADER)
      throw invalid(
        `Its header ${shown} has a line break in it, or is longer than ${LONGEST_HEADER} characters.`,
      )
  }
}

/**
 * What not every server takes as it is: lines that are too long, and bytes that are no ASCII (RFC 5322, 2.1.1 and 2.2;
 * RFC 6152 is for servers that say so). All is encoded so that there are none, but for words without a space in headers
 * and mails within the mail, which must not be encoded (RFC 2046, 5.2.1).
 */
function faultOfLines(bytes: Buffer): string | undefined {
  let begin = 0
  for (let i = 0; i <= bytes.length; i++) {
    const byte = bytes[i]
    if (byte !== undefined && byte > 0x7f)
      return 'An attached mail has bytes that are no ASCII, and it cannot be encoded. Attach it as "application/octet-stream".'
    if (byte !== undefined && byte !== 0x0a) continue
    if (i - begin - (bytes[i - 1] === 0x0d ? 1 : 0) > LONGEST_HEADER)
      return `It would have a line of more than ${LONGEST_HEADER} characters. Write spaces into subject, names and headers, where they can be folded, and attach mails as "application/octet-stream".`
    begin = i + 1
  }
  return undefined
}

function attachmentsOf({ attachments = [] }: Mail) {
  if (attachments.length > MAIL_LIMITS.attachments)
    throw invalid(`It has ${attachments.length} attachments, and ${MAIL_LIMITS.attachments} is the most.`)
  return attachments.map(({ filename, contentType = 'application/octet-stream', base64 }) => {
    const shown = JSON.stringify(filename.slice(0, 100))
    if (filename === '' || filename.length > 255 || !isOneLine(filename))
      throw invalid(`Its attachment ${shown} has no name for a file.`)
    if (!CONTENT_TYPE.test(contentType) || /^multipart\//i.test(contentType))
      throw invalid(`Its attachment ${shown} has no content type such as "application/pdf".`)
    if (!/^[A-Za-z0-9+/\r\n]*={0,2}$/.test(base64.trimEnd()))
      throw invalid(`Its attachment ${shown} is not in base64.`)
    return { filename, contentType, content: Buffer.from(base64, 'base64') }
  })
}

function invalid(what: string): PermanentError {
  return new PermanentError('mail_invalid', `The mail cannot be sent. ${what}`)
}
