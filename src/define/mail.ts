import { UsageError, type Mail } from '../base/index.ts'
import type { Operation, OperationDefinition, RequestContext } from './operation.ts'

/**
 * An operation that is an exchange of SMTP (RFC 5321) instead of HTTP: a mail, or the greeting alone (connect, TLS,
 * EHLO, AUTH, QUIT), which changes nothing.
 */
export type MailOperationDefinition<Input, Output> = Omit<
  OperationDefinition<Input, Output>,
  'request' | 'mail'
> & { readonly mail: (input: Input, context: RequestContext) => Mail | 'greeting' }

/** Declares an operation that sends a mail. Its answer is a {@link MailAnswer}. */
export function defineMailOperation<Input, Output>(
  definition: MailOperationDefinition<Input, Output>,
): Operation<Input, Output> {
  const request = (): never => {
    throw new UsageError('request_invalid', 'This operation is a mail, and has no HTTP request.')
  }
  return { ...definition, request, isOperation: true }
}
