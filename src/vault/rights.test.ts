import { describe, expect, it } from 'vitest'
import {
  beyond,
  leastRole,
  mayUse,
  rightsOf,
  SCOPE_NAMES,
  SCOPES,
  scopesOf,
  storedRights,
  TOKEN_ROLES,
} from './rights.ts'

describe('rights', () => {
  it('grow with the role, and each scope begins at its own', () => {
    for (const scope of SCOPE_NAMES)
      expect(TOKEN_ROLES.map((role) => mayUse({ role }, scope))).toEqual(
        TOKEN_ROLES.map((role) => TOKEN_ROLES.indexOf(role) >= TOKEN_ROLES.indexOf(SCOPES[scope].role)),
      )
    expect(scopesOf({ role: 'admin' })).toEqual(SCOPE_NAMES)
  })

  it('are narrowed by scopes, and never widened', () => {
    expect(scopesOf({ role: 'operator', scopes: ['runs:retry'] })).toEqual(['runs:retry'])
    expect(scopesOf({ role: 'viewer', scopes: ['runs:retry', 'runs:read'] })).toEqual(['runs:read'])
    expect(scopesOf({ role: 'admin', scopes: [] })).toEqual([])
  })

  it('that one has not are beyond one', () => {
    expect(beyond({ role: 'operator' }, { role: 'viewer' })).toEqual([])
    expect(beyond({ role: 'viewer' }, { role: 'operator', scopes: ['runs:read'] })).toEqual([])
    expect(
      beyond({ role: 'admin', scopes: ['tokens:write'] }, { role: 'operator', scopes: ['runs:retry'] }),
    ).toEqual(['runs:retry'])
  })

  it('follow from the scopes where no role is wished', () => {
    expect(rightsOf({})).toEqual({ role: 'viewer' })
    expect(rightsOf({ scopes: ['events:emit', 'events:read'] })).toEqual({
      role: 'operator',
      scopes: ['events:read', 'events:emit'],
    })
    expect(leastRole(['runs:read', 'tokens:write', 'runs:retry'])).toBe('admin')
  })

  it('that promise what the role has not are refused with the role that has it', () => {
    expect(() => rightsOf({ role: 'viewer', scopes: ['runs:retry'] })).toThrow(/"operator" has/)
    expect(() => rightsOf({ scopes: [] })).toThrow(/may nothing/)
  })

  it('that a newer version has stored allow nothing that this one does not know', () => {
    expect(scopesOf(storedRights('owner', null))).toEqual([])
    expect(scopesOf(storedRights('operator', 'runs:retry runs:fly'))).toEqual(['runs:retry'])
    expect(scopesOf(storedRights('viewer', 'runs:retry'))).toEqual([])
    expect(storedRights('viewer', null)).toEqual({ role: 'viewer' })
  })
})
