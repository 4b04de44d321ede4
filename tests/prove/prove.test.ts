import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it, vi } from 'vitest'
import config from '../../examples/business-day/trestle.config.ts'
import { systemRandom, turn } from '../../src/base/index.ts'
import { prove, writePage, type ProveOptions } from '../../src/prove/index.ts'
import { ProofStopped } from '../../src/prove/prove.ts'
import type { NodeOptions } from '../../src/prove/simulation/node.ts'

/** Each proof starts a server, and plays its flows several times. */
const LIMIT_MS = 600_000

const options: ProveOptions = {
  config,
  folder: new URL('../../examples/business-day', import.meta.url).pathname,
  seed: 'a seed',
  version: 'test',
  flows: ['payment-received'],
}

it(
  'makes the same page of the same seed, byte for byte, on a machine whose answers come late and in any order',
  async () => {
    const told: string[] = []
    const twice = { ...options, drills: ['crash', 'reset'] }
    const first = await prove({ ...twice, onDrill: (title) => told.push(title) })
    expect(first.broken).toEqual([])
    expect(first.drills.map(({ drill, verdict }) => [drill.id, verdict.lost, verdict.twice])).toEqual([
      ['reset', [], []],
      ['crash', [], []],
    ])
    // The faults were played: the proof is not about a quiet day.
    const [reset, crash] = first.drills
    expect(reset!.history.requests.some(({ status }) => status === 'reset')).toBe(true)
    expect(reset!.verdict.expected).toBeGreaterThan(2)
    expect(crash!.history.died).toBeGreaterThan(1)
    expect(told).toContain(crash!.drill.title)

    const page = writePage(first)
    expect(page).toContain('YES: every promise held')
    expect(page).not.toMatch(/<script|<link|<img|@import|url\(|src=|https?:\/\//)
    expect(page).not.toMatch(/127\.0\.0\.1:\d|\b(run|evt|con|nod)_[0-9a-z]{26}/)

    const again = await prove({ ...twice, nodeOptions: onAnotherMachine })
    expect(writePage(again)).toBe(page)
    expect(again).toEqual(first)

    // And the comparison can fail: where the nodes' randomness is another one, waits are others.
    const other = await prove({ ...twice, nodeOptions: (node) => ({ ...node, seed: 'another' }) })
    expect(other.broken).toEqual([])
    expect(writePage(other)).not.toBe(page)
  },
  LIMIT_MS,
)

/** Calls come to where they leave, and answers to who asked, later by some turns of the event loop: others each time. */
function onAnotherMachine(node: NodeOptions): NodeOptions {
  const someTurns = async (): Promise<void> => {
    for (let turns = systemRandom.bytes(1)[0]! % 8; turns > 0; turns--) await turn()
  }
  return {
    ...node,
    around: async (...given) => {
      await someTurns()
      return node.around(...given)
    },
    send: async (...given) => {
      const result = await node.send(...given)
      await someTurns()
      return result
    },
  }
}

it(
  'says NO where a protection is gone: every attempt has a key of its own',
  async () => {
    let attempts = 0
    const report = await prove({
      ...options,
      drills: ['reset'],
      nodeOptions: (node) => ({
        ...node,
        send: (request, send) => {
          const url = request.url.replace(/requestid=[^&]+/, `requestid=${++attempts}`)
          return node.send({ ...request, url }, send)
        },
      }),
    })
    expect(report.ok).toBe(false)
    expect(report.drills[0]!.verdict.twice.join()).toContain('payment.created at quickbooks')
    const page = writePage(report)
    expect(page).toContain('NO: ')
    expect(page).not.toContain('YES: every promise held')
  },
  LIMIT_MS,
)

it(
  'refuses flows and drills that are not there, by name',
  async () => {
    await expect(prove({ ...options, flows: ['payment-recieved'] })).rejects.toThrow(
      /There are: .*payment-received/,
    )
    await expect(prove({ ...options, drills: ['outage-quickboks'] })).rejects.toThrow(
      /There are: .*outage-quickbooks/,
    )
  },
  LIMIT_MS,
)

it(
  'ends where it is told to stop, and leaves nothing behind',
  async () => {
    const stop = new AbortController()
    const folder = await mkdtemp(join(tmpdir(), 'trestle-stopped-'))
    vi.stubEnv('TMPDIR', folder)
    const stopped = prove({
      ...options,
      signal: stop.signal,
      onDrill: (title) => void (title === 'Undisturbed' && stop.abort()),
    })
    await expect(stopped).rejects.toBeInstanceOf(ProofStopped)
    vi.unstubAllEnvs()
    const left = await readdir(folder)
    await rm(folder, { recursive: true })
    expect(left).toEqual([])
  },
  LIMIT_MS,
)

it(
  'plays events of the user in place of what the stand-in makes happen',
  async () => {
    const folder = await mkdtemp(join(tmpdir(), 'trestle-events-'))
    await mkdir(join(folder, 'stripe'))
    const fixture = new URL(
      '../../connectors/stripe/fixtures/events/payment_intent.succeeded.json',
      import.meta.url,
    )
    // A charge that the twin has never heard of.
    const mine = (await readFile(fixture, 'utf8')).replace(/"latest_charge": "\w+"/, '"latest_charge": null')
    await writeFile(join(folder, 'stripe', 'mine.json'), mine)
    try {
      const report = await prove({ ...options, drills: ['duplicates'], events: folder })
      expect(report.undisturbed.runs.map(({ name }) => name)).toEqual(['payment-received ← stripe mine.json'])
      expect(report.flows[0]!.actsAt).toEqual(['hubspot', 'quickbooks'])
      expect(report.broken).toEqual([])
      expect(report.drills[0]!.history.mail.map(({ answers }) => answers)).toContainEqual([200, 200, 200])
      await writeFile(join(folder, 'stripe', 'broken.json'), '{"object": "event"')
      await expect(prove({ ...options, events: folder })).rejects.toThrow(
        /broken\.json is no webhook of Stripe/,
      )
    } finally {
      await rm(folder, { recursive: true })
    }
  },
  LIMIT_MS,
)
