import { systemClock, type Clock } from '../base/index.ts'
import {
  createEgress,
  type Egress,
  type EgressOptions,
  type EgressRequest,
  type EgressResult,
} from './index.ts'
import { openWire, type Script, type Wire } from './wire.fixture.ts'

/** The machine's, but what is waited for at most may take a hundred times as long: tests stand still now and then. */
export const patientClock: Clock = {
  now: () => systemClock.now(),
  monotonic: () => systemClock.monotonic() / 100,
  after: (ms, wake, options) => systemClock.after(ms * 100, wake, options),
}

const open: { close(): Promise<unknown> }[] = []

/** Closed by {@link closeAll}. */
export function closeLater(thing: { close(): Promise<unknown> }): void {
  open.push(thing)
}

/** For `afterEach`. */
export async function closeAll(): Promise<void> {
  for (const thing of open.splice(0).reverse()) await thing.close()
}

export async function wire(script: Script, onConnect?: Parameters<typeof openWire>[1]): Promise<Wire> {
  const made = await openWire(script, onConnect)
  closeLater(made)
  return made
}

export function egress(options: Partial<EgressOptions> = {}): Egress {
  const made = createEgress({ clock: patientClock, ...options })
  closeLater({ close: () => made.destroy() })
  return made
}

export function post(to: Egress, url: string, more: Partial<EgressRequest> = {}): Promise<EgressResult> {
  return to.send({
    method: 'POST',
    url,
    headers: { 'content-type': 'application/json' },
    body: Buffer.from('{"amount":1999}'),
    timeoutMs: 30_000,
    allowPrivate: true,
    ...more,
  })
}

/** Every name is this machine. */
export const toThisMachine: EgressOptions['resolve'] = (_, done) =>
  done(null, [{ address: '127.0.0.1', family: 4 }])
