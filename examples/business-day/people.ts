/** The customers of the day. `known` to every system, a `lead` in the CRM only, or `new` everywhere. */
export interface Customer {
  readonly name: string
  readonly email: string
  readonly phone: string
  readonly standing: 'known' | 'lead' | 'new'
}

const NAMES = {
  known: ['Ada Lovelace', 'Alan Turing', 'Katherine Johnson', 'Edsger Dijkstra', 'Radia Perlman'],
  lead: ['Mary Jackson', 'Tony Hoare', 'Frances Allen', 'Dorothy Vaughan'],
  new: ['Barbara Liskov', 'Donald Knuth', 'Annie Easley', 'Jean Bartik'],
} as const

export const CUSTOMERS: readonly Customer[] = (['known', 'lead', 'new'] as const).flatMap((standing, group) =>
  NAMES[standing].map((name, i) => ({
    name,
    standing,
    email: `${name.toLowerCase().replace(' ', '.')}@example.com`,
    phone: `+1555010${group}${String(i + 100)}`,
  })),
)

export function customersOf(standing: Customer['standing']): readonly Customer[] {
  return CUSTOMERS.filter((customer) => customer.standing === standing)
}

/** Customers in turn, over and over. */
export function inTurn(customers: readonly Customer[]): () => Customer {
  let next = 0
  return () => customers[next++ % customers.length]!
}
