import { describe, expect, it } from 'vitest'
import { chooseAccount, type AccountFacts } from './account.ts'

const PASSWD = [
  'root:x:0:0:root:/root:/bin/bash',
  'postgres:x:101:104:PostgreSQL administrator,,,:/var/lib/postgresql:/bin/bash',
  'nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin',
  'ada:x:1000:1000::/home/ada:/bin/bash',
].join('\n')

const root: AccountFacts = { platform: 'linux', uid: 0, dataOwner: undefined, passwd: PASSWD }

describe('the account that runs the server', () => {
  it('is our own for an ordinary user, and where there are no uids', () => {
    expect(chooseAccount({ ...root, uid: 1000 })).toBeUndefined()
    expect(chooseAccount({ ...root, uid: 1000, dataOwner: { uid: 1000, gid: 1000 } })).toBeUndefined()
    expect(chooseAccount({ ...root, platform: 'win32', uid: undefined })).toBeUndefined()
  })

  it('is postgres, else nobody, for root', () => {
    expect(chooseAccount(root)).toEqual({ uid: 101, gid: 104 })
    const without = PASSWD.replace(/^postgres.*\n/m, '')
    expect(chooseAccount({ ...root, passwd: without })).toEqual({ uid: 65534, gid: 65534 })
  })

  it('is the owner of the data for root, so that the owner can go on without root', () => {
    expect(chooseAccount({ ...root, dataOwner: { uid: 1000, gid: 1000 } })).toEqual({ uid: 1000, gid: 1000 })
    expect(chooseAccount({ ...root, dataOwner: { uid: 0, gid: 0 } })).toEqual({ uid: 101, gid: 104 })
  })

  it('is never root, whatever the password file says', () => {
    expect(() => chooseAccount({ ...root, passwd: 'postgres:x:0:0::/:/bin/sh' })).toThrow(/useradd/)
    expect(() => chooseAccount({ ...root, passwd: '' })).toThrow(/DATABASE_URL/)
    expect(() => chooseAccount({ ...root, platform: 'darwin' })).toThrow(/ordinary user/)
  })

  it('is refused where the data is of another user, who is named', () => {
    const facts = { ...root, uid: 1000, dataOwner: { uid: 101, gid: 104 } }
    expect(() => chooseAccount(facts)).toThrow(/belongs to the user postgres/)
    expect(() => chooseAccount({ ...facts, passwd: '' })).toThrow(/belongs to the user 101/)
  })
})
