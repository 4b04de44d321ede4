import { createBrotliCompress, createGzip, constants, gzipSync } from 'node:zlib'
import type { Socket } from 'node:net'
import { SECOND, systemClock, type Clock } from '../../../src/base/index.ts'
import { BODIES } from './bodies.ts'

/** One way to answer a request that no honest system has. */
export interface HostileAnswer {
  readonly name: string
  /** Whether the request is acted on before the answer. */
  readonly acts: boolean
  /**
   * What must be made of it.
   * - `refused`: for certain not done; it is left to a person.
   * - `doubt`: nobody can know from it whether it was done.
   * - `kept_back`: it was done, and what came is not what was promised: it goes to quarantine.
   * - `taken`: strange, and good.
   */
  readonly means: 'refused' | 'doubt' | 'kept_back' | 'taken' | 'taken_or_kept_back'
  readonly play: (socket: Socket) => void
}

/** What the answers are made of, since a bomb takes a while to make. */
export interface Ammunition {
  readonly gzip: Buffer
  readonly brotli: Buffer
}

const MIB = 1024 * 1024
const UNPACKED = 300 * MIB

export async function makeAmmunition(): Promise<Ammunition> {
  return {
    gzip: await packed(createGzip()),
    brotli: await packed(createBrotliCompress({ params: { [constants.BROTLI_PARAM_QUALITY]: 5 } })),
  }
}

async function packed(packer: ReturnType<typeof createGzip | typeof createBrotliCompress>): Promise<Buffer> {
  const pieces: Buffer[] = []
  packer.on('data', (piece: Buffer) => pieces.push(piece))
  const ended = new Promise((resolve) => packer.once('end', resolve))
  const blanks = Buffer.alloc(MIB, ' ')
  for (let i = 0; i < UNPACKED / MIB; i++)
    if (!packer.write(blanks)) await new Promise((resolve) => packer.once('drain', resolve))
  packer.end()
  await ended
  return Buffer.concat(pieces)
}

const HEAD = 'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n'
const GOOD = '{"id":"obj_1"}'

/** Every answer of the drill. `elsewhere`: the other origin that redirects lead to. */
export function hostileAnswers({ gzip, brotli }: Ammunition, elsewhere: string): readonly HostileAnswer[] {
  const raw = (name: string, text: string, means: HostileAnswer['means'] = 'doubt'): HostileAnswer => ({
    name,
    acts: true,
    means,
    play: (socket) => void socket.end(text, 'latin1'),
  })
  const whole = (name: string, body: Buffer, means: HostileAnswer['means'], headers = ''): HostileAnswer => ({
    name,
    acts: true,
    means,
    play: (socket) =>
      void socket.end(
        Buffer.concat([
          Buffer.from(`${HEAD}${headers}content-length: ${body.length}\r\nconnection: close\r\n\r\n`),
          body,
        ]),
      ),
  })
  const redirect = (status: number, acts: boolean): HostileAnswer => ({
    name: `${status} to another origin`,
    acts,
    means: acts ? 'doubt' : 'refused',
    play: (socket) =>
      void socket.end(
        `HTTP/1.1 ${status} Elsewhere\r\nlocation: ${elsewhere}/charges\r\nrefresh: 0; url=${elsewhere}/\r\ncontent-length: 0\r\nconnection: close\r\n\r\n`,
      ),
  })
  return [
    // RFC 9110, 15.4: a 302 or 303 is what servers answer to a form that was taken.
    redirect(301, false),
    redirect(307, false),
    redirect(308, false),
    redirect(302, true),
    redirect(303, true),
    whole('300 MB as gzip', gzip, 'doubt', 'content-encoding: gzip\r\n'),
    whole('300 MB as brotli', brotli, 'doubt', 'content-encoding: br\r\n'),
    whole('300 MB packed twice', gzipSync(gzip), 'doubt', 'content-encoding: gzip, gzip\r\n'),
    whole('gzip that is none', Buffer.from(GOOD), 'doubt', 'content-encoding: gzip\r\n'),
    whole('half a gzip', gzipSync(GOOD.repeat(50)).subarray(0, 30), 'doubt', 'content-encoding: gzip\r\n'),
    drip('a body of a byte a second', `${HEAD}content-length: 3600\r\n\r\n`),
    drip('headers of a byte a second', 'HTTP/1.1 200 OK\r\nx-slow: '),
    drip('no answer at all', ''),
    raw('a header of 1 MB', `${HEAD}x-large: ${'x'.repeat(MIB)}\r\ncontent-length: 14\r\n\r\n${GOOD}`),
    raw('50,000 headers', `${HEAD}${'x: y\r\n'.repeat(50_000)}content-length: 14\r\n\r\n${GOOD}`),
    raw('a thousand informational answers', 'HTTP/1.1 103 Early Hints\r\n\r\n'.repeat(1000)),
    raw('a chunk without a size', `${HEAD}transfer-encoding: chunked\r\n\r\nzz\r\n${GOOD}\r\n0\r\n\r\n`),
    raw('a chunk below zero', `${HEAD}transfer-encoding: chunked\r\n\r\n-1\r\n${GOOD}\r\n0\r\n\r\n`),
    raw(
      'a chunk beyond 64 bits',
      `${HEAD}transfer-encoding: chunked\r\n\r\nfffffffffffffffff\r\n${GOOD}\r\n`,
    ),
    raw('a chunk longer than its size', `${HEAD}transfer-encoding: chunked\r\n\r\n4\r\n${GOOD}\r\n0\r\n\r\n`),
    raw('chunks that do not end', `${HEAD}transfer-encoding: chunked\r\n\r\ne\r\n${GOOD}\r\n`),
    raw('less than it announces', `${HEAD}content-length: 500\r\n\r\n${GOOD}`),
    raw(
      'a length and chunks',
      `${HEAD}content-length: 14\r\ntransfer-encoding: chunked\r\n\r\ne\r\n${GOOD}\r\n0\r\n\r\n`,
    ),
    raw('two lengths', `${HEAD}content-length: 14\r\ncontent-length: 5\r\n\r\n${GOOD}`),
    raw('a length that is no number', `${HEAD}content-length: 0x0e\r\n\r\n${GOOD}`),
    raw('no HTTP', 'SSH-2.0-OpenSSH_9.2\r\n'),
    raw('a status that is none', `HTTP/1.1 999999 Odd\r\ncontent-length: 14\r\n\r\n${GOOD}`),
    raw('a header without a colon', `${HEAD}nonsense\r\ncontent-length: 14\r\n\r\n${GOOD}`),
    raw('a NUL in a header', `${HEAD}x: a\0b\r\ncontent-length: 14\r\n\r\n${GOOD}`),
    raw(
      'an answer to somebody else',
      `${HEAD}content-length: 14\r\n\r\n${GOOD}${HEAD}content-length: 14\r\n\r\n${GOOD}`,
      'taken',
    ),
    raw(
      'an upgrade',
      'HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n',
    ),
    { name: 'a reset', acts: true, means: 'doubt', play: (socket) => void socket.resetAndDestroy() },
    ...BODIES.map(({ name, bytes, isJson }) =>
      whole(
        `as JSON: ${name}`,
        bytes,
        { yes: 'taken', no: 'kept_back', either: 'taken_or_kept_back' }[isJson] as HostileAnswer['means'],
      ),
    ),
  ]
}

/** One byte a second, until the other side has had enough. */
function drip(name: string, head: string): HostileAnswer {
  return {
    name,
    acts: true,
    means: 'doubt',
    play: (socket) => {
      socket.write(head)
      if (head !== '') next(socket, systemClock)
    },
  }
}

function next(socket: Socket, clock: Clock): void {
  clock.after(SECOND, () => {
    if (socket.destroyed) return
    socket.write(' ')
    next(socket, clock)
  })
}
