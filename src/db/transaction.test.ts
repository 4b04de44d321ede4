import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createTestDatabase, impatient, type TestDatabase } from '../../tests/support/database.ts'
import { RetryableError } from '../base/index.ts'
import { openDatabase } from './connect.ts'
import { asUnavailable, transaction } from './transaction.ts'

const fault = (message: string, code?: string): Error => Object.assign(new Error(message), { code })

describe('a fault of the database', () => {
  it('may pass where the connection broke, in whatever way', () => {
    const faults = [
      fault('write EPIPE', 'EPIPE'), // Five capital letters, like an SQLSTATE.
      fault('read ECONNRESET', 'ECONNRESET'),
      fault('Connection terminated unexpectedly'),
      fault('the database system is starting up', '57P03'),
      fault('terminating connection due to idle-in-transaction timeout', '25P03'),
    ]
    const passing = faults.filter((error) => asUnavailable(error) instanceof RetryableError)
    expect(passing).toEqual(faults)
  })

  it('does not pass where the statement or our own code is wrong', () => {
    const faults = [
      fault('duplicate key value', '23505'),
      fault('syntax error', '42601'),
      new TypeError('x is not a function'),
    ]
    expect(faults.map((error) => asUnavailable(error))).toEqual([undefined, undefined, undefined])
  })
})

describe('a transaction whose process stands still', () => {
  let database: TestDatabase
  beforeAll(async () => {
    database = await createTestDatabase()
  })
  afterAll(() => database.drop())

  it('loses its locks, and nothing of it is committed', async () => {
    const still = openDatabase({ url: impatient(database.url), silentTransactionMs: 100 })
    const other = openDatabase({ url: database.url })
    const add = 'insert into installation (name, value) values ($1, $2)'
    let goOn = (): void => {}
    const until = new Promise<void>((resolve) => {
      goOn = resolve
    })
    /** Begins to stand still with the lock; `undefined` where the machine stood still before it had that. */
    const stand = async (): Promise<{ readonly ended: Promise<unknown> } | undefined> => {
      let stands = (): void => {}
      const locked = new Promise<'locked'>((resolve) => {
        stands = () => resolve('locked')
      })
      const standing = transaction(still.pool, async (client) => {
        await client.query(add, ['one', Buffer.from('still')])
        stands()
        await until
        await client.query(add, ['two', Buffer.from('still')])
      })
      const ended = standing.catch((error: unknown) => error)
      return (await Promise.race([locked, ended])) === 'locked' ? { ended } : undefined
    }
    let standing = await stand()
    while (!standing) standing = await stand()

    // Waits for the other's lock, and gets it.
    await transaction(other.pool, (client) => client.query(add, ['one', Buffer.from('other')]))
    goOn()
    expect(await standing.ended).toBeInstanceOf(RetryableError)
    const { rows } = await other.pool.query<{ name: string; value: Buffer }>(
      'select name, value from installation order by name',
    )
    expect(rows.map(({ name, value }) => [name, value.toString()])).toEqual([['one', 'other']])
    await Promise.all([still.close(), other.close()])
  })
})
