/**
 * Small answers that unpack to 300 MB. Each is asked for by a process of its own, whose memory is measured; what is
 * asserted of the product is what it kept and how it answered, and a bound on the memory that a bomb would break.
 */
import { execFile } from 'node:child_process'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import {
  createBrotliCompress,
  createDeflate,
  createGzip,
  constants,
  gzipSync,
  type BrotliCompress,
} from 'node:zlib'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { BombReport } from './bombChild.ts'

const MIB = 1024 * 1024
const UNPACKED = 300 * MIB
const MOST_EXTRA = 64 * MIB

const run = promisify(execFile)
const child = fileURLToPath(new URL('bombChild.ts', import.meta.url))

let server: Server
const bombs = new Map<string, { readonly encoding: string; readonly body: Buffer }>()

async function packed(packer: BrotliCompress | ReturnType<typeof createGzip>): Promise<Buffer> {
  const pieces: Buffer[] = []
  packer.on('data', (piece: Buffer) => pieces.push(piece))
  const ended = new Promise((resolve) => packer.once('end', resolve))
  const zeros = Buffer.alloc(MIB)
  for (let i = 0; i < UNPACKED / MIB; i++)
    if (!packer.write(zeros)) await new Promise((resolve) => packer.once('drain', resolve))
  packer.end()
  await ended
  return Buffer.concat(pieces)
}

beforeAll(async () => {
  const gzip = await packed(createGzip())
  const brotli = await packed(createBrotliCompress({ params: { [constants.BROTLI_PARAM_QUALITY]: 5 } }))
  bombs
    .set('/small', { encoding: 'gzip', body: gzipSync('{"fine":true}') })
    .set('/gzip', { encoding: 'gzip', body: gzip })
    .set('/raw', { encoding: 'identity', body: gzip })
    .set('/brotli', { encoding: 'br', body: brotli })
    .set('/deflate', { encoding: 'deflate', body: await packed(createDeflate()) })
    .set('/nested', { encoding: 'gzip', body: gzipSync(gzip) })
    .set('/layers', { encoding: 'gzip, gzip', body: gzipSync(gzip) })
    .set('/mixed', { encoding: 'br, gzip', body: gzipSync(brotli) })
    // Many members, each far below the floor alone (RFC 1952, 2.2).
    .set('/members', {
      encoding: 'gzip',
      body: Buffer.concat(Array.from({ length: 9000 }, () => gzipSync(Buffer.alloc(35_000)))),
    })
  server = createServer((request, response) => {
    const { encoding, body } = bombs.get(request.url!)!
    response.writeHead(200, { 'content-encoding': encoding, 'content-length': body.length }).end(body)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
})
afterAll(() => new Promise((resolve) => server.close(resolve)))

async function ask(path: string, times = 1, way = 'egress'): Promise<BombReport[]> {
  const base = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const args = ['--import', 'jiti/register', child, base, path, String(times), way]
  const { stdout } = await run(process.execPath, args, { maxBuffer: MIB })
  const reports = JSON.parse(stdout) as BombReport[]
  if (process.env['TRESTLE_REPORT'])
    process.stderr.write(
      `${way} ${path} ×${times}: ${reports[0]!.outcome}, ${(reports[0]!.extra / MIB).toFixed(1)} MiB\n`,
    )
  return reports
}

describe('an answer that unpacks to 300 MB', () => {
  it.each([
    ['/gzip', 'too_large'],
    ['/deflate', 'too_large'],
    ['/brotli', 'too_large'],
    ['/nested', 'too_large'],
    ['/members', 'too_large'],
    ['/layers', 'truncated'],
    ['/mixed', 'truncated'],
  ])('as %s is refused as %s, and nothing of it is kept', async (path, outcome) => {
    expect(bombs.get(path)!.body.length).toBeLessThan(2 * MIB)
    const [report] = await ask(path)
    expect(report).toMatchObject({ outcome, kept: 0 })
    expect(report!.extra).toBeLessThan(MOST_EXTRA)
  })

  it('costs no more when 32 come at once', async () => {
    const reports = await ask('/gzip', 32)
    expect(reports.map(({ outcome, kept }) => [outcome, kept])).toEqual(reports.map(() => ['too_large', 0]))
    // Less than the bodies of 32 would be, each cut at its 10 MiB; without any bound they are 9,600 MiB.
    expect(reports[0]!.extra).toBeLessThan(4 * MOST_EXTRA)
  })

  it('the control: without the bound, all of it is kept, and the memory shows it', async () => {
    const [report] = await ask('/gzip', 1, 'unguarded')
    expect(report!.kept).toBe(UNPACKED)
    expect(report!.extra).toBeGreaterThan(UNPACKED)
  })
})
