import type { Classification, LimitDefinition, ProviderAnswer } from 'trestle'
import { field } from './requests.ts'

/**
 * Intuit's limits for one company and app.
 * Sources, read 2026-11-22: https://blogs.intuit.com/2016/08/08/idg-concurrent-api-use-changes-coming-soon (500 a
 * minute, 10 at once), https://blogs.intuit.com/2025/08/13/upcoming-changes-to-the-accounting-api (10 a second).
 */
export const limits: readonly LimitDefinition[] = [
  {
    name: 'minute',
    allowed: 500,
    windowMs: 60_000,
    concurrency: 10,
    source: 'https://blogs.intuit.com/2016/08/08/idg-concurrent-api-use-changes-coming-soon, read 2026-11-22',
  },
  {
    name: 'second',
    allowed: 10,
    windowMs: 1000,
    source: 'https://blogs.intuit.com/2025/08/13/upcoming-changes-to-the-accounting-api, read 2026-11-22',
  },
]

/** Where a throttled answer names no time: the window of the tighter limit that lasts. */
const THROTTLED_WAIT_MS = 60_000

/**
 * Codes in `Fault.Error[].code` and what they are called here.
 * Sources, read 2026-11-22:
 * https://developer.intuit.com/hub/blog/2017/06/08/top-quickbooks-online-api-errors-and-how-to-handle-them/ and, for
 * 600, https://help.redteam.com/en/articles/8314078-redteam-go-quickbooks-accounting-integration-error-codes.
 */
const CODES: Readonly<Record<string, string>> = {
  '500': 'unsupported_operation',
  '610': 'object_not_found',
  '2020': 'parameter_missing',
  '2170': 'enumeration_invalid',
  '2500': 'reference_invalid',
  '5010': 'stale_object',
  '4001': 'query_invalid',
  '6000': 'business_validation',
  '6070': 'amount_incorrect',
  '6140': 'duplicate_document_number',
  '6190': 'company_inactive',
  '6210': 'period_closed',
  '6240': 'duplicate_name',
  '6540': 'deposited_transaction',
}

interface Fault {
  /** Without leading zeros: the gateway writes `003001`, the API `3001`. */
  readonly code: string
  readonly message: string
}

/** What QuickBooks' answers mean beyond the defaults. */
export function classify(answer: ProviderAnswer, now: number): Classification | undefined {
  const fault = faultOf(answer)
  const reason = fault?.message ?? `QuickBooks answered ${answer.status}.`
  if (answer.status === 429 || fault?.code === '3001')
    return {
      as: 'retry',
      code: 'throttled',
      reason,
      retryAt: retryAfter(answer, now) ?? now + THROTTLED_WAIT_MS,
    }
  // 120: the person who connected the company may no longer use it; only a new authorization helps.
  if (answer.status === 401 || fault?.code === '3200' || fault?.code === '120')
    return { as: 'unauthorized', code: 'unauthorized', reason }
  // A request with this requestid is known, but its answer is not given again: it may have been done.
  if (fault?.code === '600') return { as: 'in_doubt', code: 'duplicate_request_id', reason }
  if (fault === undefined || answer.status >= 500) return undefined
  // A query may carry a fault in a 200.
  return { as: 'failed', code: CODES[fault.code] ?? `fault_${fault.code}`, reason }
}

/** The first error. The API writes `Fault.Error`, Intuit's gateway `fault.error`. */
function faultOf({ json }: ProviderAnswer): Fault | undefined {
  const fault = field(json, 'Fault') ?? field(json, 'fault')
  const errors = field(fault, 'Error') ?? field(fault, 'error')
  if (!Array.isArray(errors) || errors.length === 0) return undefined
  const first = errors[0] as unknown
  const message = text(field(first, 'Message')) ?? text(field(first, 'message')) ?? 'no message'
  const detail = text(field(first, 'Detail')) ?? text(field(first, 'detail'))
  const element = text(field(first, 'element'))
  const code = text(field(first, 'code')) ?? 'unknown'
  return {
    code: code.replace(/^0+(?=\d)/, ''),
    message: `${detail === undefined || detail === message ? message : `${message}: ${detail}`}${element === undefined ? '' : ` (${element})`} [${code}]`,
  }
}

function text(value: unknown): string | undefined {
  if (typeof value === 'number') return String(value)
  return typeof value === 'string' && value !== '' ? value : undefined
}

/** `Retry-After` (RFC 9110, 10.2.3): seconds or a date. */
function retryAfter({ headers }: ProviderAnswer, now: number): number | undefined {
  const value = headers['retry-after']?.trim()
  if (value === undefined) return undefined
  if (/^\d{1,9}$/.test(value)) return now + Number(value) * 1000
  const date = Date.parse(value)
  return Number.isNaN(date) ? undefined : date
}
