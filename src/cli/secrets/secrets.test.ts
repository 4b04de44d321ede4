import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { PassThrough } from 'node:stream'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { z } from 'zod'
import { defineConnector, defineOperation, signatureSchemes, type AuthScheme } from '../../define/index.ts'
import { collectSecrets } from './collectSecrets.ts'
import { askHidden, type Terminal } from './prompt.ts'
import { readSecret, wantedSecrets } from './sources.ts'

let folder: string
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'trestle-secrets-'))
})
afterAll(() => rmSync(folder, { recursive: true }))

interface FakeTerminal extends Terminal {
  readonly shown: () => string
  readonly isRaw: () => boolean
  type(keys: string): void
}

function terminal(isTTY = true): FakeTerminal {
  const stream = new PassThrough()
  let raw = false
  let shown = ''
  const setRawMode = (on: boolean): void => {
    raw = on
  }
  return {
    input: Object.assign(stream, isTTY ? { isTTY, setRawMode } : {}),
    output: { write: (text: string) => (shown += text) },
    shown: () => shown,
    isRaw: () => raw,
    type: (keys) => void stream.write(keys),
  }
}

describe('a prompt', () => {
  it('shows nothing of what is typed, and gives the terminal back', async () => {
    const at = terminal()
    const answer = askHidden('Token', at)
    expect(at.isRaw()).toBe(true)
    at.type('sk_live_x')
    at.type('\u007f1')
    at.type('\r')
    expect(await answer).toBe('sk_live_1')
    expect(at.shown()).toBe('Token: \n')
    expect(at.isRaw()).toBe(false)
  })

  it('ends at Ctrl-C and gives the terminal back', async () => {
    const at = terminal()
    const answer = askHidden('Token', at)
    at.type('sk_\u0003')
    await expect(answer).rejects.toThrow(/nothing was changed/)
    expect(at.isRaw()).toBe(false)
  })
})

describe('where a secret comes from', () => {
  it('is never the command line, and the refusal does not repeat the secret', () => {
    expect(() => wantedSecrets(['token=sk_live_123'])).toThrow(/every user of this machine/)
    expect(() => wantedSecrets(['token=sk_live_123'])).not.toThrow(/sk_live_123/)
  })

  it.each([
    ['token', { from: 'prompt' }],
    ['token=prompt', { from: 'prompt' }],
    ['token=stdin', { from: 'stdin' }],
    ['token=env:STRIPE_KEY', { from: 'environment', name: 'STRIPE_KEY' }],
  ])('--secret %s', (text, source) => {
    expect(wantedSecrets([text])).toEqual([{ field: 'token', source }])
  })

  it('is stdin for one at most', () => {
    expect(() => wantedSecrets(['a=stdin', 'b=stdin'])).toThrow(/Only one/)
  })

  it('is a file, without the line break at its end but with every other character', async () => {
    const path = join(folder, 'token')
    writeFileSync(path, ' a\nb \r\n')
    const [wanted] = wantedSecrets([], [`token=${path}`])
    expect(await readSecret(wanted!, { terminal: terminal(), environment: {} })).toBe(' a\nb ')
  })

  it('is said to be wrong where it is not there', async () => {
    const at = { terminal: terminal(false), environment: {} }
    const read = (text: string) => readSecret(wantedSecrets([text])[0]!, at)
    await expect(read('token=env:NOPE')).rejects.toThrow(/NOPE .* is not set/)
    await expect(read('token=prompt')).rejects.toThrow(/no terminal/)
    await expect(readSecret(wantedSecrets([], ['token=/nope'])[0]!, at)).rejects.toThrow(/ENOENT/)
  })
})

function connector(auth: AuthScheme, verified = false) {
  const shape = z.object({})
  return defineConnector({
    name: 'acme',
    title: 'Acme',
    baseUrl: 'https://api.example.com',
    auth,
    operations: {
      ping: defineOperation({
        summary: 'ask whether it is there',
        input: shape,
        output: shape,
        idempotency: { kind: 'natural' },
        request: () => ({ method: 'GET', path: '/ping' }),
      }),
    },
    events: {},
    limits: [],
    check: { operation: 'ping', input: {} },
    ...(verified && {
      webhooks: { signature: signatureSchemes.standardWebhooks, events: () => [], idIsSigned: true },
    }),
  })
}

describe('what is asked for', () => {
  it('is every field that the connection needs, and the webhook secret, which may be empty', async () => {
    const at = terminal()
    const collected = collectSecrets({
      connector: connector({ kind: 'basic' }, true),
      wanted: [],
      held: [],
      terminal: at,
      environment: {},
    })
    for (const keys of ['AC1\r', 'secret\r', '\r']) {
      await new Promise(setImmediate)
      at.type(keys)
    }
    expect(await collected).toEqual({
      secrets: { username: 'AC1', password: 'secret' },
      webhookSecrets: undefined,
    })
    expect(at.shown()).not.toContain('AC1')
  })

  it('is only what the options name, where they name something', async () => {
    const collected = await collectSecrets({
      connector: connector({ kind: 'basic' }, true),
      wanted: wantedSecrets(['password=env:P', 'webhookSecret=env:W', 'webhookSecret=env:V']),
      held: [],
      terminal: terminal(false),
      environment: { P: 'p', W: 'w', V: 'v' },
    })
    expect(collected).toEqual({ secrets: { password: 'p' }, webhookSecrets: ['w', 'v'] })
  })

  it('is which way, where a provider has several and none is held', async () => {
    const at = terminal()
    const collected = collectSecrets({
      connector: connector({
        kind: 'oauth2',
        tokenUrl: '/token',
        authorizeUrl: 'https://example.com',
        scopes: [],
        clientAuth: 'post',
        alternatives: [{ kind: 'bearer' }],
      }),
      wanted: [],
      held: [],
      terminal: at,
      environment: {},
    })
    for (const keys of ['2\r', 'pat_1\r']) {
      await new Promise(setImmediate)
      at.type(keys)
    }
    expect((await collected).secrets).toEqual({ token: 'pat_1' })
  })

  it('names what the connector has where a field is unknown, and does not ask on no terminal', async () => {
    const base = {
      connector: connector({ kind: 'bearer' }),
      held: [],
      terminal: terminal(false),
      environment: {},
    }
    await expect(collectSecrets({ ...base, wanted: wantedSecrets(['apiKey']) })).rejects.toThrow(
      /It has: token/,
    )
    await expect(collectSecrets({ ...base, wanted: [] })).rejects.toThrow(/needs the secrets token/)
  })
})
