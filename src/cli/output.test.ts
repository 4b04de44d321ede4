import { describe, expect, it } from 'vitest'
import { LosslessNumber, UsageError } from '../base/index.ts'
import { createOutput, encodeAnswer, facts, table } from './output.ts'

function capture(): { out: string; err: string; streams: Parameters<typeof createOutput>[1] } {
  const captured = {
    out: '',
    err: '',
    streams: {
      stdout: { write: (text: string) => (captured.out += text) },
      stderr: { write: (text: string) => (captured.err += text) },
    },
  }
  return captured
}

describe('an answer', () => {
  it('is one JSON object for programs, and nothing else on stdout', () => {
    const captured = capture()
    const output = createOutput(true, captured.streams)
    output.notice('on the way')
    output.answer(
      { at: new Date(0), big: 12345678901234567890n, exact: new LosslessNumber('0.10') },
      () => 'words',
    )
    expect(captured).toMatchObject({
      out: '{"at":"1970-01-01T00:00:00.000Z","big":12345678901234567890,"exact":0.10}\n',
      err: '',
    })
  })

  it('is words for people, with what is said on the way beside it', () => {
    const captured = capture()
    const output = createOutput(false, captured.streams)
    output.notice('on the way')
    output.answer({ done: true }, () => 'Done.')
    expect(captured).toMatchObject({ out: 'Done.\n', err: 'on the way\n' })
  })

  it('leaves out what is undefined and keeps null', () => {
    expect(encodeAnswer({ a: undefined, b: null, c: [undefined], bytes: Buffer.from('hi') })).toBe(
      '{"b":null,"c":[null],"bytes":"aGk="}',
    )
  })
})

describe('an error', () => {
  it('is a sentence on stderr; with --json the object too, with its code', () => {
    const captured = capture()
    createOutput(true, captured.streams).error(new UsageError('id_invalid', 'Write another.'))
    expect(captured.err).toContain('Write another.')
    expect(JSON.parse(captured.out)).toEqual({ error: { code: 'id_invalid', message: 'Write another.' } })
  })

  it('names a command where the API names its route', () => {
    const captured = capture()
    createOutput(false, captured.streams).error(
      new Error('There is no run run_1. List them with GET /api/v1/dead-letters.'),
    )
    expect(captured.err).toContain('List them with: trestle dead-letters')
  })
})

describe('a table', () => {
  it('has its columns under each other, and no lines', () => {
    expect(
      table(
        ['A', 'LONGER'],
        [
          ['x', 'y'],
          ['longest', undefined],
        ],
        'none',
      ).split('\n'),
    ).toEqual(['A        LONGER', 'x        y', 'longest'])
  })

  it('says in words that there is nothing', () => {
    expect(table(['A'], [], 'There is nothing.')).toBe('There is nothing.')
  })
})

it('facts leave out what has no value', () => {
  expect(
    facts([
      ['State', 'held'],
      ['Ended', null],
      ['Id', 'run_1'],
    ]),
  ).toBe('State  held\nId     run_1')
})
