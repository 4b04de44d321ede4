import { createServer, type AddressInfo, type Socket } from 'node:net'
import { afterEach, describe, expect, it } from 'vitest'
import { RetryableError } from '../base/index.ts'
import { openDatabase, type Database } from './connect.ts'
import { transaction } from './transaction.ts'

/** A message of PostgreSQL's protocol: https://www.postgresql.org/docs/18/protocol-message-formats.html (2026-11). */
function message(type: string, ...parts: readonly (string | number)[]): Buffer {
  const body = Buffer.concat(
    parts.map((part) => {
      if (typeof part === 'string') return Buffer.from(part)
      const number = Buffer.alloc(4)
      number.writeInt32BE(part)
      return number
    }),
  )
  const head = Buffer.alloc(5, type)
  head.writeInt32BE(body.length + 4, 1)
  return Buffer.concat([head, body])
}

const AUTHENTICATED = message('R', 0)
const READY = message('Z', 'I')
const SHUTTING_DOWN = message(
  'E',
  'SFATAL\0C57P01\0Mterminating connection due to unexpected postmaster exit\0\0',
)

describe('a connection', () => {
  const sockets = new Set<Socket>()
  let database: Database | undefined
  afterEach(async () => {
    for (const socket of sockets) socket.destroy()
    await database?.close()
  })

  it('that is refused in the breath in which it was granted fails its user, not the process', async () => {
    const server = createServer((socket) => {
      sockets.add(socket)
      socket.once('data', () => socket.end(Buffer.concat([AUTHENTICATED, READY, SHUTTING_DOWN])))
    })
    await new Promise<void>((resolve) => {
      server.listen(0, '127.0.0.1', resolve)
    })
    const { port } = server.address() as AddressInfo
    database = openDatabase({ url: `postgres://trestle@127.0.0.1:${port}/trestle` })

    const used = transaction(database.pool, (client) => client.query('select 1'))
    await expect(used).rejects.toBeInstanceOf(RetryableError)
    server.close()
  })
})

describe('the time after which a connection is given up', () => {
  it.each([
    ['', 5_000],
    ['?connect_timeout=60', 60_000],
    ['?connect_timeout=60&pgbouncer=true', 60_000],
    ['?connect_timeout=0', 60_000],
    ['?connect_timeout=300', 60_000],
    ['?connect_timeout=soon', 5_000],
  ])('is the one of the url (%s), as libpq reads it', async (parameters, ms) => {
    const database = openDatabase({ url: `postgres://trestle@127.0.0.1:1/trestle${parameters}` })
    expect(database.pool.options.connectionTimeoutMillis).toBe(ms)
    await database.close()
  })
})
