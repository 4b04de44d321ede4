import { expect, it } from 'vitest'
import config from '../../examples/business-day/trestle.config.ts'
import { prove, writePage, type ProveOptions } from '../../src/prove/index.ts'

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
  'plays with the same seed the same faults to the same verdicts, on a page that needs nothing from elsewhere',
  async () => {
    const told: string[] = []
    const twice = {
      ...options,
      drills: ['duplicates', 'reset'],
      onDrill: (title: string) => told.push(title),
    }
    const first = await prove(twice)
    expect(first.broken).toEqual([])
    expect(first.drills.map(({ drill, verdict }) => [drill.id, verdict.lost, verdict.twice])).toEqual([
      ['duplicates', [], []],
      ['reset', [], []],
    ])
    // The faults were played: the proof is not about a quiet day.
    const [duplicates, reset] = first.drills
    expect(duplicates!.history.mail.some(({ answers }) => answers.length === 3)).toBe(true)
    expect(reset!.history.requests.some(({ status }) => status === 'reset')).toBe(true)
    expect(reset!.verdict.expected).toBeGreaterThan(2)
    expect(told).toContain(reset!.drill.title)

    const page = writePage(first)
    expect(page).toContain('YES: every promise held')
    expect(page).not.toMatch(/<script|<link|<img|@import|url\(|src=|https?:\/\//)
    expect(page).not.toMatch(/127\.0\.0\.1:\d|\b(run|evt|con|nod)_[0-9a-z]{26}/)
    expect(writePage(first)).toBe(page)
    const again = await prove(twice)
    expect(again.drills.map(({ verdict }) => verdict)).toEqual(first.drills.map(({ verdict }) => verdict))
    expect(again.flows).toEqual(first.flows)
  },
  LIMIT_MS,
)

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

it('refuses flows that are not there, by name', async () => {
  await expect(prove({ ...options, flows: ['payment-recieved'] })).rejects.toThrow(
    /There are: .*payment-received/,
  )
})
