/**
 * Any mail server, by SMTP.
 *
 * Owns: what a mail of a flow may hold, and what its answer looks like.
 * Leaves to others: the dialogue, TLS and the bytes (egress), what a reply means (calls), the password (the vault).
 *
 * 1. A mail whose fate nobody knows is held for a person, unless the flow has said that it may come twice: no server
 *    can be asked whether it took one (RFC 1047).
 * 2. The Message-ID is made of the step's key, so that who gets a mail twice can tell (RFC 5322, 3.6.4).
 * 3. Nothing that a mail is made of can become another address or header.
 */
import { defineConnector, defineMailOperation, MINUTE } from 'trestle'
import type { z } from 'zod'
import { emptyInput, greetingAnswer, mailInput, sentAnswer, type SentMail } from './contracts.ts'

/**
 * Everything until the mail's end has five minutes at most, by phases, and the server ten for its last reply
 * (RFC 5321, 4.5.3.2.6): to give up earlier would only make doubt.
 */
const SEND_LIMIT_MS = 15 * MINUTE

const shared = {
  input: mailInput,
  output: sentAnswer,
  mail: (mail: z.infer<typeof mailInput>) => mail,
  timeoutMs: SEND_LIMIT_MS,
  describe: ({ to, subject }: z.infer<typeof mailInput>, { rejected }: SentMail): string =>
    `mail to ${to[0]}${to.length > 1 ? ` and ${to.length - 1} more` : ''}: ${subject}${rejected.length > 0 ? ` (${rejected.length} refused)` : ''}`,
} as const

/** Held for a person where nobody knows whether the server took it. */
const send = defineMailOperation({
  ...shared,
  summary: 'send a mail',
  idempotency: { kind: 'none' },
})

/** The flow says that a second copy does no harm: it has the Message-ID of the first. */
const sendAtLeastOnce = defineMailOperation({
  ...shared,
  summary: 'send a mail that may come twice',
  idempotency: { kind: 'natural' },
})

const verify = defineMailOperation({
  summary: 'connect, log in and say good-bye',
  effect: 'read',
  input: emptyInput,
  output: greetingAnswer,
  idempotency: { kind: 'natural' },
  mail: () => 'greeting',
  timeoutMs: MINUTE,
})

/**
 * The connector. A connection sets `baseUrl`: `smtps://host:465` is TLS from the first byte, `smtp://host:587` STARTTLS,
 * always. Secrets: `username` and `password`.
 */
export const smtp = defineConnector({
  name: 'smtp',
  title: 'Mail by SMTP',
  baseUrl: 'smtps://smtp.example.com:465',
  auth: { kind: 'smtp_login' },
  operations: { send, sendAtLeastOnce, verify },
  events: {},
  limits: [
    {
      name: 'mails',
      allowed: 30,
      windowMs: MINUTE,
      concurrency: 3,
      source:
        'SMTP has no limit; the strictest of the large providers, Exchange Online: 30 a minute, 3 connections (learn.microsoft.com, smtp-submission-improvements, read 2026-11-23)',
    },
  ],
  check: { operation: 'verify', input: {} },
})

export type { SentMail } from './contracts.ts'
