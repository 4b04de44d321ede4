import { z } from 'zod'
import { defineOperation } from 'trestle'
import { contact, type Contact } from './contracts.ts'
import { listOperation } from './lists.ts'
import {
  findMarked,
  firstOf,
  id,
  listOf,
  markOf,
  once,
  PAGE_LIMIT,
  readRequest,
  tenantRequest,
} from './requests.ts'

const details = {
  email: z.string().max(255).optional(),
  phone: z.string().max(50).optional(),
  firstName: z.string().max(255).optional(),
  lastName: z.string().max(255).optional(),
  /** A number of your own for the contact; people can change it in Xero. */
  accountNumber: z.string().max(50).optional(),
}

const createInput = z.object({
  /** Unique among the active contacts, whatever its case. */
  name: z.string().min(1).max(255),
  ...details,
})

/**
 * Creates a contact. A name that is taken fails (`validation`). Its `ContactNumber`, which nobody can change in Xero,
 * carries our mark.
 * Source: https://developer.xero.com/documentation/api/accounting/contacts, by xero-node 20.0.0 (model Contact), read
 * 2026-11-22.
 */
export const createContact = defineOperation({
  summary: 'create a contact',
  input: createInput,
  output: contact,
  idempotency: once<z.infer<typeof createInput>, Contact>({
    // A search over names, numbers and addresses, without regard to case.
    request: (_input, context) =>
      tenantRequest(context, {
        method: 'GET',
        path: '/Contacts',
        query: {
          searchTerm: markOf(context.idempotencyKey),
          includeArchived: true,
          page: 1,
          pageSize: PAGE_LIMIT,
        },
      }),
    found: (answer, _input, { idempotencyKey }) =>
      findMarked(answer, { kind: 'Contact', mark: markOf(idempotencyKey) }, 'ContactNumber'),
  }),
  request: (input, context) =>
    tenantRequest(context, {
      method: 'PUT',
      path: '/Contacts',
      body: {
        json: {
          Contacts: [{ ...fieldsOf(input), ContactNumber: markOf(context.idempotencyKey) }],
        },
      },
    }),
  answer: (answer) => firstOf(answer, 'Contact'),
  describe: (_input, made) => `contact ${made.Name} created`,
})

/** Sets the given fields of a contact and leaves the others. Harmless to repeat. */
export const updateContact = defineOperation({
  summary: 'change a contact',
  input: z.object({ id, name: z.string().min(1).max(255).optional(), ...details }),
  output: contact,
  idempotency: { kind: 'natural' },
  request: (input, context) =>
    tenantRequest(context, {
      method: 'POST',
      path: `/Contacts/${encodeURIComponent(input.id)}`,
      body: { json: { Contacts: [{ ContactID: input.id, ...fieldsOf(input) }] } },
    }),
  answer: (answer) => firstOf(answer, 'Contact'),
  describe: (_input, changed) => `contact ${changed.Name} changed`,
})

/**
 * The active contacts with exactly this e-mail address; often one, sometimes none or several, since Xero does not keep
 * addresses unique.
 */
export const findContactsByEmail = defineOperation({
  summary: 'look for contacts by e-mail address',
  // No quotation marks: the address becomes a literal of Xero's filter.
  input: z.object({ email: z.string().regex(/^[^\s"\\]+@[^\s"\\]+$/) }),
  output: z.array(contact),
  idempotency: { kind: 'natural' },
  request: ({ email }, context) =>
    tenantRequest(context, {
      method: 'GET',
      path: '/Contacts',
      query: { where: `EmailAddress=="${email}"`, page: 1, pageSize: 100 },
    }),
  answer: (answer) => listOf(answer, 'Contact'),
  describe: ({ email }, found) => `${found.length} contacts with ${email}`,
})

/** Reads a contact by id. */
export const retrieveContact = defineOperation({
  summary: 'read a contact',
  input: z.object({ id }),
  output: contact,
  idempotency: { kind: 'natural' },
  request: (input, context) => readRequest('Contact', input.id, context),
  answer: (answer) => firstOf(answer, 'Contact'),
  describe: (_input, found) => `contact ${found.Name}`,
})

/** Contacts, archived ones too, longest unchanged first. */
export const listContacts = listOperation('Contact', contact)

function fieldsOf(input: Partial<z.infer<typeof createInput>>) {
  return {
    ...(input.name === undefined ? {} : { Name: input.name }),
    ...(input.email === undefined ? {} : { EmailAddress: input.email }),
    ...(input.firstName === undefined ? {} : { FirstName: input.firstName }),
    ...(input.lastName === undefined ? {} : { LastName: input.lastName }),
    ...(input.accountNumber === undefined ? {} : { AccountNumber: input.accountNumber }),
    ...(input.phone === undefined ? {} : { Phones: [{ PhoneType: 'DEFAULT', PhoneNumber: input.phone }] }),
  }
}
