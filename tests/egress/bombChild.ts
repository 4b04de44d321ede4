/** A process of its own that asks for a bomb and reports what that cost. Started by bombs.test.ts. */
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { gunzipSync } from 'node:zlib'
import { systemClock, turn } from '../../src/base/index.ts'
import { createEgress } from '../../src/egress/index.ts'
import { PATIENCE, PATIENT_MS } from './patience.ts'

/** What one bomb came to. */
export interface BombReport {
  readonly outcome: string
  readonly reason: string
  /** Bytes of the answer's body that were handed on. */
  readonly kept: number
  /** The most memory that the process had since it was asked for, beyond what it had before: bytes. */
  readonly extra: number
}

const [base = '', path = '', times = '1', way = 'egress'] = process.argv.slice(2)
const egress = createEgress({ clock: systemClock, policy: PATIENCE })

async function ask(url: string): Promise<Omit<BombReport, 'extra'>> {
  const answer = await egress.send({
    method: 'GET',
    url,
    headers: {},
    timeoutMs: PATIENT_MS,
    allowPrivate: true,
  })
  if (answer.as === 'answered') return { outcome: 'answered', reason: '', kept: answer.body.length }
  return { outcome: answer.code, reason: answer.reason, kept: 0 }
}

/** The same without a limit: the control. */
async function askUnguarded(url: string): Promise<Omit<BombReport, 'extra'>> {
  const answer = await egress.send({
    method: 'GET',
    url: url.replace('/gzip', '/raw'),
    headers: {},
    timeoutMs: PATIENT_MS,
    allowPrivate: true,
  })
  const kept = answer.as === 'answered' ? gunzipSync(answer.body).length : 0
  return { outcome: 'answered', reason: '', kept }
}

setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc') as () => void
for (let i = 0; i < 20; i++) await ask(`${base}/small`) // what is loaded and compiled is not the bomb's
collect()
const before = process.memoryUsage.rss()
let most = before
const state = { isOver: false }
// Looked at in every turn of the event loop: the process's own high-water mark includes what starting it took.
const watching = (async () => {
  while (!state.isOver) {
    most = Math.max(most, process.memoryUsage.rss())
    await turn()
  }
})()
const reports = await Promise.all(
  Array.from({ length: Number(times) }, () => (way === 'egress' ? ask : askUnguarded)(base + path)),
)
most = Math.max(most, process.memoryUsage.rss())
state.isOver = true
await watching
const extra = most - before
process.stdout.write(JSON.stringify(reports.map((report): BombReport => ({ ...report, extra }))))
await egress.destroy()
