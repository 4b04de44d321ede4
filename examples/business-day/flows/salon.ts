/** What the flows of this business have in common. */
import { TrestleError, type FlowContext } from 'trestle'
import { quickbooks, type Customer } from 'trestle/connectors/quickbooks'

/** The salon's number at Twilio, from which customers are texted. */
export const SALON_NUMBER = '+15005550006'

export interface Person {
  readonly name: string
  readonly email: string
}

/**
 * The customer in the books with this address, made where there is none. QuickBooks has no upsert. Its names are
 * unique, so where another flow makes the same customer in the same moment, one of them is refused and finds it.
 */
export async function customerInBooks(use: FlowContext['use'], { name, email }: Person): Promise<Customer> {
  const { customers } = use(quickbooks)
  const [known] = await customers.findByEmail({ email })
  if (known) return known
  try {
    return await customers.create({ displayName: `${name} (${email})`, email })
  } catch (error) {
    if (!(error instanceof TrestleError) || error.code !== 'duplicate_name') throw error
    const [made] = await customers.findByEmail({ email })
    if (!made) throw error
    return made
  }
}

/** Nine in the evening of that day, where the appointment was: a follow-up text is welcome until then. */
export function eveningOf(time: string): string {
  const [, day = '', zone = 'Z'] = /^(\d{4}-\d\d-\d\d)T.*?(Z|[+-]\d\d:\d\d)$/.exec(time) ?? []
  return `${day}T21:00:00${zone}`
}

export function firstName(name: string): string {
  return name.split(' ')[0] ?? name
}
