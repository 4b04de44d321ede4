import { describe, expect, it } from 'vitest'
import { createFakeClock, type FakeClock } from '../../testing/index.ts'
import type { Ready } from '../serving/serve.ts'
import { afterExit, startSupervisor, type Child, type ChildExit, type Supervisor } from './supervisor.ts'

class FakeChild implements Child {
  readonly pid = 1
  readonly signals: string[] = []
  #ready: (ready: Ready) => void = () => {}
  #exit: (exit: ChildExit) => void = () => {}

  kill(signal: NodeJS.Signals): void {
    this.signals.push(signal)
  }
  onReady(listener: (ready: Ready) => void): void {
    this.#ready = listener
  }
  onExit(listener: (exit: ChildExit) => void): void {
    this.#exit = listener
  }
  comesUp(): void {
    this.#ready({} as Ready)
  }
  ends(exit: Partial<ChildExit>): void {
    this.#exit({ code: null, signal: null, ...exit })
  }
}

interface Setup {
  readonly supervisor: Supervisor
  readonly children: FakeChild[]
  readonly said: string[]
  readonly ready: (number | 'first')[]
  readonly clock: FakeClock
}

function supervise(watches = true): Setup {
  const clock = createFakeClock()
  const children: FakeChild[] = []
  const said: string[] = []
  const ready: (number | 'first')[] = []
  const supervisor = startSupervisor({
    clock,
    watches,
    say: (line) => said.push(line),
    onReady: (_, downMs) => ready.push(downMs),
    spawn() {
      const child = new FakeChild()
      children.push(child)
      return child
    },
  })
  return { supervisor, children, said, ready, clock }
}

describe('a child that is killed', () => {
  it('is started again, and it is said', async () => {
    const { children, said, ready, clock } = supervise()
    children[0]!.comesUp()
    children[0]!.ends({ signal: 'SIGKILL' })
    expect(said.join()).toContain('SIGKILL')
    await clock.advance(200)
    expect(children).toHaveLength(2)
    children[1]!.comesUp()
    expect(ready).toEqual(['first', 200])
  })

  it('again and again is started ever more slowly, and at once after it had lived', async () => {
    const { children, clock } = supervise()
    children[0]!.comesUp()
    const delays: number[] = []
    for (let i = 0; i < 8; i++) {
      const before = clock.now()
      const count = children.length
      children.at(-1)!.ends({ code: 1 })
      while (children.length === count) await clock.advance(100)
      delays.push(clock.now() - before)
    }
    expect(delays).toEqual([200, 400, 800, 1600, 3200, 6400, 10_000, 10_000])
    await clock.advance(11_000)
    children.at(-1)!.ends({ code: 1 })
    await clock.advance(200)
    expect(children).toHaveLength(10)
  })
})

describe('a mistake in the configuration', () => {
  it('waits for a change to a file, and not for time', async () => {
    const { supervisor, children, said, clock } = supervise()
    children[0]!.ends({ code: 2 })
    await clock.advance(60_000)
    expect(children).toHaveLength(1)
    expect(said.at(-1)).toMatch(/^Waiting for a change/)
    supervisor.restart('flows/a.ts changed.')
    expect(children).toHaveLength(2)
  })

  it('ends it with exit code 2 where no files are watched', async () => {
    const { supervisor, children } = supervise(false)
    children[0]!.ends({ code: 2 })
    expect(await supervisor.ended).toBe(2)
  })
})

it('what cannot start at all ends with its own code, before any person went away', () => {
  const at = { everReady: false, failures: 0, watches: true }
  expect(afterExit({ ...at, exit: { code: 4, signal: null } })).toEqual({ as: 'end', code: 4 })
  expect(afterExit({ ...at, exit: { code: 1, signal: null } })).toEqual({ as: 'end', code: 1 })
  expect(afterExit({ ...at, everReady: true, exit: { code: 4, signal: null } })).toMatchObject({
    as: 'restart',
  })
})

describe('a change to a file', () => {
  it('ends the child in order before the next is started', () => {
    const { supervisor, children } = supervise()
    children[0]!.comesUp()
    supervisor.restart('a.ts changed.')
    expect(children[0]!.signals).toEqual(['SIGTERM'])
    expect(children).toHaveLength(1)
    children[0]!.ends({ code: 0 })
    expect(children).toHaveLength(2)
  })

  it('during a restart starts one child, not two', () => {
    const { supervisor, children } = supervise()
    supervisor.restart('a.ts changed.')
    supervisor.restart('b.ts changed.')
    children[0]!.ends({ code: 0 })
    expect(children).toHaveLength(2)
  })
})

describe('stop', () => {
  it('ends the child in order and starts none after it', async () => {
    const { supervisor, children, clock } = supervise()
    children[0]!.comesUp()
    const stopped = supervisor.stop()
    expect(children[0]!.signals).toEqual(['SIGTERM'])
    children[0]!.ends({ code: 0 })
    await stopped
    expect(await supervisor.ended).toBe(0)
    await clock.advance(60_000)
    expect(children).toHaveLength(1)
  })

  it('ends a child that does not stop by force, after its own limit of 45 s', async () => {
    const { supervisor, children, clock } = supervise()
    void supervisor.stop()
    await clock.advance(45_000)
    expect(children[0]!.signals).toEqual(['SIGTERM'])
    await clock.advance(1_000)
    expect(children[0]!.signals).toEqual(['SIGTERM', 'SIGKILL'])
  })

  it('between two starts ends at once and starts nothing', async () => {
    const { supervisor, children, clock } = supervise()
    children[0]!.comesUp()
    children[0]!.ends({ signal: 'SIGKILL' })
    await supervisor.stop()
    await clock.advance(60_000)
    expect(children).toHaveLength(1)
  })

  it('at once ends the child by force', () => {
    const { supervisor, children } = supervise()
    void supervisor.stop()
    supervisor.stopAtOnce()
    expect(children[0]!.signals).toEqual(['SIGTERM', 'SIGKILL'])
  })
})
