import { describe, expect, it } from 'vitest'
import { readPidfile } from './postmaster.ts'
import { reasonFor } from './server.ts'

describe('postmaster.pid', () => {
  const lines = [
    '7698',
    '/proc/self/cwd',
    '1795358985',
    '23999',
    '',
    '127.0.0.1',
    ' 16039943         4',
    'ready   ',
  ]

  it('is read at every stage of a start', () => {
    expect(readPidfile(`${lines.join('\n')}\n`)).toEqual({ pid: 7698, port: 23999, status: 'ready' })
    expect(readPidfile(lines.slice(0, 5).join('\n'))).toEqual({ pid: 7698, port: 23999, status: 'starting' })
    expect(readPidfile(lines.join('\n').replace('ready', 'stopping'))?.status).toBe('stopping')
  })

  it.each(['', '\n', 'x\n', '-12\n/data\n'])('is not believed when it is broken: %j', (text) => {
    expect(readPidfile(text)).toBeUndefined()
  })
})

describe('why a start failed', () => {
  it.each([
    ['FATAL:  lock file "postmaster.pid" already exists', 'already_running'],
    ['FATAL:  pre-existing shared memory block (key 1604, ID 4) is still in use', 'leftovers'],
    ['LOG:  could not bind IPv4 address "127.0.0.1": Address already in use', 'port_taken'],
    ['LOG:  could not bind IPv4 address "127.0.0.1": Permission denied', 'port_taken'],
    ['FATAL:  could not write lock file "postmaster.pid": No space left on device', 'failed'],
    ['', 'failed'],
  ])('is read from the log: %s', (said, outcome) => {
    expect(reasonFor(said)).toBe(outcome)
  })
})
