/**
 * Redaction at the point of capture: what leaves here may be written, shown and exported.
 *
 * Owns: what a secret is called ({@link isSecretName}), how a known one may be written ({@link SecretValues}), what an
 * unknown one looks like ({@link redactShapes}), and how much of an exchange is kept.
 * Leaves to others: which credentials a connection has (the vault gives their values to the redactor, which keeps them
 * in memory only), and which paths a connector marks.
 *
 * 1. Nothing that a mark, a name on the list or a known value points at is in the result, in any common encoding.
 * 2. The work for one exchange is bounded, however long its bodies are, but for one hash over them.
 * 3. It never throws, whatever the bytes are.
 */
export {
  Redactor,
  type Exchange,
  type ExchangeHeaders,
  type KeptBody,
  type RedactedExchange,
  type SecretMarks,
} from './redactor.ts'
