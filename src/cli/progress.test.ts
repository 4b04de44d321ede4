import { describe, expect, it } from 'vitest'
import { createFakeClock } from '../testing/index.ts'
import { progressLine, startProgress } from './progress.ts'

function draw(isTTY: boolean) {
  const clock = createFakeClock()
  let drawn = ''
  const progress = startProgress('Checking', { isTTY, columns: 60, write: (text) => (drawn += text) }, clock)
  return { clock, progress, drawn: () => drawn }
}

describe('a progress bar', () => {
  it('is not drawn where there is no terminal', async () => {
    const { clock, progress, drawn } = draw(false)
    await clock.advance(5_000)
    progress.to(1, 2)
    progress.end()
    expect(drawn()).toBe('')
  })

  it('is not drawn for what is over at once', () => {
    const { progress, drawn } = draw(true)
    progress.to(1, 2)
    progress.end()
    expect(drawn()).toBe('')
  })

  it('is drawn at most ten times a second, fits the terminal, and leaves nothing', async () => {
    const { clock, progress, drawn } = draw(true)
    await clock.advance(1_000)
    for (let i = 0; i < 50; i++) progress.to(i, 100)
    expect(drawn().split('\r').length - 1).toBe(1)
    await clock.advance(1_000)
    progress.to(100, 100)
    expect(drawn()).toContain('100 % 100 of 100')
    for (const line of drawn().split('\u001b[K')) expect(line.length).toBeLessThan(60)
    progress.end()
    expect(drawn().endsWith('\r\u001b[K')).toBe(true)
  })

  it('counts where there is no total', () => {
    expect(progressLine('Copying', { done: 1234 })).toBe('Copying 1,234')
  })
})
