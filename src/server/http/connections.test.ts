import { once } from 'node:events'
import { createServer, type Server, type ServerResponse } from 'node:http'
import { connect, type AddressInfo, type Socket } from 'node:net'
import { afterEach, describe, expect, it } from 'vitest'
import { turn } from '../../base/index.ts'
import { boundConnections, CONNECTION_LIMITS, type ConnectionLimits } from './connections.ts'

const servers: Server[] = []
const sockets: Socket[] = []
afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.destroy()
  for (const server of servers.splice(0)) {
    server.closeAllConnections()
    await new Promise((resolve) => server.close(resolve))
  }
})

/** Answers at once; `/work` when it is told to. */
async function start(limits: Partial<ConnectionLimits> = {}) {
  const atWork: ServerResponse[] = []
  const all = { ...CONNECTION_LIMITS, ...limits }
  const server = createServer({ connectionsCheckingInterval: all.lookEveryMs }, (request, response) => {
    if (request.url === '/work') atWork.push(response)
    else request.resume().once('end', () => response.end('done'))
  })
  boundConnections(server, all)
  servers.push(server)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return { server, atWork, port: (server.address() as AddressInfo).port }
}

async function open(port: number, from = '127.0.0.1') {
  const socket = connect({ port, host: '127.0.0.1', localAddress: from })
  sockets.push(socket)
  let text = ''
  const state = { closed: false }
  socket.on('data', (chunk: Buffer) => (text += chunk.toString())).on('error', () => undefined)
  socket.on('close', () => (state.closed = true))
  await once(socket, 'connect')
  return { socket, answer: () => text, isClosed: () => state.closed }
}

const GET = 'GET / HTTP/1.1\r\nhost: x\r\n\r\n'
const until = async (isSo: () => boolean): Promise<void> => {
  while (!isSo()) await turn()
}

describe('connections beyond the limit', () => {
  it('close the one of the same address that has waited longest, and the newcomer is served', async () => {
    const { port } = await start({ maxConnections: 3 })
    const first = await open(port)
    const second = await open(port)
    const third = await open(port)
    first.socket.write(GET) // It has been heard later than the second.
    await until(() => first.answer().includes('done'))
    const fourth = await open(port)
    await until(second.isClosed)
    fourth.socket.write(GET)
    await until(() => fourth.answer().includes('done'))
    expect([first.isClosed(), third.isClosed()]).toEqual([false, false])
  })

  it('close half requests: headers that do not end, bodies that drip', async () => {
    const { port } = await start({ maxConnections: 2 })
    const head = await open(port)
    head.socket.write('GET / HTTP/1.1\r\nx-a: ')
    const body = await open(port)
    body.socket.write('POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n1')
    for (let i = 0; i < 4; i++) {
      const next = await open(port)
      next.socket.write(GET)
      await until(() => next.answer().includes('done'))
    }
    await until(() => head.isClosed() && body.isClosed())
  })

  it('never close what is being worked on: the newcomer is refused then', async () => {
    const { port, atWork } = await start({ maxConnections: 2 })
    const busy = [await open(port), await open(port)]
    for (const one of busy) one.socket.write('GET /work HTTP/1.1\r\nhost: x\r\n\r\n')
    await until(() => atWork.length === 2)
    const late = await open(port)
    await until(late.isClosed)
    for (const response of atWork) response.end('worked')
    await until(() => busy.every((one) => one.answer().includes('worked')))
  })

  it('of one address cost another address none of its own', async () => {
    const { port } = await start({ maxConnections: 20 })
    const provider = await open(port, '127.0.0.2')
    const flood: Awaited<ReturnType<typeof open>>[] = []
    for (let i = 0; i < 200; i++) flood.push(await open(port))
    await until(() => flood.filter((one) => one.isClosed()).length >= 181)
    provider.socket.write(GET)
    await until(() => provider.answer().includes('done'))
    const another = await open(port, '127.0.0.2')
    another.socket.write(GET)
    await until(() => another.answer().includes('done'))
  })
})

it('headers that do not come within the time are answered 408', async () => {
  const { port } = await start({ headersTimeoutMs: 20, requestTimeoutMs: 40, lookEveryMs: 5 })
  const slow = await open(port)
  slow.socket.write('GET / HTTP/1.1\r\nx-a: ')
  await until(slow.isClosed)
  expect(slow.answer()).toMatch(/^HTTP\/1\.1 408 /)
})
