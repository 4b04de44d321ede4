import type { RunId } from '../../src/base/index.ts'
import type { EgressRequest, EgressResult } from '../../src/egress/index.ts'
import { TENANT } from '../../src/runtime/index.ts'
import type { Node } from './node.ts'
import type { PlannedFault, Step, Trial } from './plan.ts'
import { moment, type World } from './world.ts'

/** What came of a trial, as the providers saw it. */
export interface Outcome {
  readonly trial: Trial
  /** The state in which the run ended. */
  readonly end: string
  /** The steps whose faults came up, in order: not each planned one does. */
  readonly played: readonly string[]
  /** What the providers did in this trial, in order: `invoice.created`. */
  readonly effects: readonly string[]
  /** How often a person had to say what had happened. */
  readonly asked: number
  /** What is not as specified; empty is what one hopes for. */
  readonly wrong: readonly string[]
}

/** A trial that is not over after this long, in the machine's own time, is stuck. */
const STUCK_MS = 150_000
const POLL_MS = 3
const LATE_MS = 20_000
const acting = { actor: 'operator:trial', tenant: TENANT } as const
const ENDS = ['succeeded', 'undone', 'cancelled', 'dead_lettered']

export async function playTrial(world: World, trial: Trial): Promise<Outcome> {
  const { clock, installation, twins } = world
  await world.settled()
  clock.jump(120_000)
  const before = new Map(world.all.map((twin) => [twin, twin.effects().length]))
  const played: string[] = []
  const late: LateSend[] = []
  const subject = subjectOf(trial)
  let run: RunId | undefined
  let cancelled = false
  const left = [...trial.faults]

  world.interfere(async (request, send, node) => {
    const step = stepOf(request)
    if (step !== undefined && step === trial.cancelAt && !cancelled && run !== undefined) {
      cancelled = true
      await installation.operator.cancel(run, acting)
    }
    const at = left.findIndex((fault) => fault.step === step)
    if (at < 0) return send()
    const [fault] = left.splice(at, 1) as [PlannedFault]
    played.push(`${fault.step} ${fault.boundary} ${fault.fault}`)
    return play(fault, { world, request, send, node, late })
  })
  if (trial.ending === 'fails') twins.app.faults.failNext(1_000, 400, { only: 'POST /events' })

  run = await world.happen(eventOf(trial, subject))
  let asked = 0
  let end = ''
  const until = performance.now() + STUCK_MS
  for (;;) {
    await world.settled()
    const row = await world.load(run)
    end = row.state
    if (ENDS.includes(end)) break
    if (performance.now() > until) {
      end = `stuck ${row.state}: ${row.reason ?? ''} ${row.waits ?? ''}`
      break
    }
    if (row.node_id === null && row.state === 'held') {
      asked++
      if (await tellTheTruth(world, run, row.waits, subject)) continue
      end = `held for ${row.reason ?? ''} ${row.waits ?? ''}`
      break
    } else if (row.node_id === null && row.due_at && row.state !== 'queued') {
      await goTo(world, row.due_at.getTime() + 1, late)
      await world.wake(run)
    }
    await moment(POLL_MS)
  }
  await Promise.all(late.map(({ done }) => done))
  world.interfere(undefined)
  twins.app.faults.clear()
  const effects = world.all
    .flatMap((twin) => twin.effects().slice(before.get(twin)))
    .sort((a, b) => a.at - b.at)
    .map(({ kind }) => kind)
  return { trial, end, played, effects, asked, wrong: wrongOf(trial, end, effects, cancelled) }
}

interface Playing {
  readonly world: World
  readonly request: EgressRequest
  readonly send: () => Promise<EgressResult>
  readonly node: Node
  readonly late: LateSend[]
}

const never = <Result>(): Promise<Result> => new Promise(() => {})
const unknown = (code: 'reset' | 'timeout', reason: string): EgressResult => ({ as: 'unknown', code, reason })

async function play({ fault, away, step }: PlannedFault, playing: Playing): Promise<EgressResult> {
  const { world, send, late } = playing
  const { faults } = twinOf(world, step)
  const die = <Result>(): Promise<Result> => {
    world.kill(away)
    return never()
  }
  switch (fault) {
    case 'refused':
      return {
        as: 'not_sent',
        code: 'connect_refused',
        reason: 'No connection could be made (ECONNREFUSED).',
      }
    case 'node_dies_before_send':
      return die()
    case 'reset_before_acting':
      faults.resetBeforeActing(1)
      return thenAway(world, away, await send())
    case 'unavailable':
      faults.failNext(1, 503)
      return thenAway(world, away, await send())
    case 'node_dies_in_flight':
      faults.resetBeforeActing(1)
      await send()
      return die()
    case 'acts_late':
      late.push(lateSend(world, send))
      world.kill(0)
      return never()
    case 'reset_after_acting':
      faults.resetAfterActing(1)
      return thenAway(world, away, await send())
    case 'error_after_acting':
      faults.failNext(1, 500, { acted: true })
      return thenAway(world, away, await send())
    case 'timed_out':
      await send()
      return thenAway(world, away, unknown('timeout', 'No answer came within 30000 ms.'))
    case 'node_dies_before_answer':
      await send()
      return die()
    case 'node_dies_answered':
      return armed(world, 'call.answered', 'die', await send())
    case 'node_dies_before_commit':
      return armed(world, 'writes.before_commit', 'die', await send())
    case 'node_dies_after_commit':
      return armed(world, 'writes.committed', 'die', await send())
    case 'database_cut':
      return armed(world, 'writes.before_commit', 'cut', await send())
  }
}

function armed(world: World, point: string, what: 'die' | 'cut', result: EgressResult): EgressResult {
  world.arm(point, what)
  return result
}

function thenAway(world: World, away: number, result: EgressResult): EgressResult {
  world.clock.jump(away)
  return result
}

/** A request that was on its way when its sender died, and arrives within the time that an exchange may take. */
interface LateSend {
  readonly due: number
  readonly done: Promise<unknown>
}

function lateSend({ clock }: World, send: () => Promise<EgressResult>): LateSend {
  const due = clock.now() + LATE_MS
  const arrives = async (): Promise<void> => {
    while (clock.now() < due) await moment(1)
    await send()
  }
  return { due, done: arrives() }
}

/** Puts the clock forward; what is to happen on the way happens at its time. */
async function goTo({ clock }: World, time: number, late: readonly LateSend[]): Promise<void> {
  for (const { due, done } of late) {
    if (due > time) continue
    if (due > clock.now()) clock.jump(due - clock.now())
    await done
  }
  if (time > clock.now()) clock.jump(time - clock.now())
}

function twinOf({ twins }: World, step: Step) {
  if (step.endsWith('record') || step === 'word') return twins.app
  if (step.endsWith('invoice')) return twins.quickbooks
  if (step === 'sms') return twins.twilio
  if (step.endsWith('letter')) return twins.letters
  return twins.hubspot
}

/** Which exchange of the flow this is; reads, look-ups and tokens are none. */
function stepOf({ method, url }: EgressRequest): Step | undefined {
  const { pathname, searchParams } = new URL(url)
  const path = `${method} ${pathname}`
  if (path.startsWith('PUT /records/')) return 'record'
  if (path.startsWith('DELETE /records/')) return 'undo_record'
  if (/^POST \/v3\/company\/[^/]+\/invoice$/.test(path))
    return searchParams.get('operation') === 'void' ? 'undo_invoice' : 'invoice'
  if (path === 'POST /crm/v3/objects/contacts/batch/upsert') return 'contact'
  if (path === 'POST /crm/v3/objects/notes') return 'note'
  if (/^POST .*\/Messages\.json$/.test(path)) return 'sms'
  if (path === 'POST /letters') return 'letter'
  if (path.startsWith('DELETE /letters/')) return 'undo_letter'
  if (path === 'POST /events') return 'word'
  return undefined
}

interface Subject {
  readonly id: string
  readonly name: string
  readonly phone: string
}

let serial = 0
/** A customer and an appointment of the trial's own. */
function subjectOf({ seed }: Trial): Subject {
  const n = `${seed}x${++serial}`
  return { id: `apt_${n}`, name: `Customer ${n}`, phone: `+1555${String(serial).padStart(7, '0')}` }
}

function eventOf({ carrier }: Trial, { id, name, phone }: Subject): Record<string, unknown> {
  return {
    id,
    customer: { name, email: `${id}@example.com`, ...(carrier === 'sms' ? { phone } : {}) },
    service: 'Haircut',
    startsAt: '2026-11-22T09:00:00+00:00',
    endsAt: '2026-11-22T10:00:00+00:00',
    price: { amount: 4500, currency: 'USD' },
  }
}

/** A person looks at the carrier, and says what they found there. `false`: it is held for something else. */
async function tellTheTruth(
  world: World,
  run: RunId,
  waits: string | null,
  { name }: Subject,
): Promise<boolean> {
  const steps = JSON.parse(waits ?? '[]') as { name: string; ordinal: number; phase?: string }[]
  const held = steps.find((step) => step.phase === 'held')
  // Nothing else may need a person.
  if (held?.name !== 'letters.letters.post') return false
  const letter = [...world.twins.letters.state.letters.values()].find(({ to }) => to === name)
  const word = letter ? ({ as: 'done', result: { id: letter.id } } as const) : ({ as: 'not_done' } as const)
  await world.installation.operator.settle(run, { ...word, step: held.name, ordinal: held.ordinal }, acting)
  return true
}

// --- what is specified ----------------------------------------------------------------------------------

const MESSAGES = ['message.sent', 'letter.posted']

/** What is not as it must be, by what the providers did and nothing else. */
function wrongOf(trial: Trial, end: string, effects: readonly string[], cancelled: boolean): string[] {
  const wrong: string[] = []
  const times = (kind: string): number => effects.filter((effect) => effect === kind).length
  const expectTimes = (kind: string, least: number, most = least): void => {
    const found = times(kind)
    if (found < least || found > most)
      wrong.push(
        `${kind} happened ${found} times instead of ${least === most ? least : `${least} to ${most}`}`,
      )
  }
  const message = trial.carrier === 'sms' ? 'message.sent' : 'letter.posted'
  const other = MESSAGES.find((kind) => kind !== message)!
  expectTimes(other, 0)
  const wanted =
    trial.ending === 'fails' ? ['undone'] : cancelled ? ['cancelled', 'succeeded'] : ['succeeded']
  if (!wanted.includes(end)) wrong.push(`the run ended ${end} instead of ${wanted.join(' or ')}`)

  if (end === 'succeeded') {
    for (const kind of ['record.created', 'invoice.created', 'note.created', message, 'event.received'])
      expectTimes(kind, 1)
    for (const kind of ['record.deleted', 'invoice.voided', 'letter.recalled']) expectTimes(kind, 0)
    return wrong
  }
  // Undone or cancelled: nothing was made twice, and what was made and can be taken back was, once, the last first.
  const complete = end === 'undone'
  for (const kind of ['invoice.created', 'note.created', message]) expectTimes(kind, complete ? 1 : 0, 1)
  expectTimes('event.received', 0, complete ? 0 : 1)
  expectTimes('invoice.voided', times('invoice.created'))
  expectTimes('letter.recalled', times('letter.posted'))
  if (effects.some((kind) => kind.startsWith('record.'))) {
    const records = effects.filter((kind) => kind.startsWith('record.'))
    if (records.at(-1) !== 'record.deleted') wrong.push('the record is still there')
  }
  const undone = effects.filter((kind) =>
    ['letter.recalled', 'invoice.voided', 'record.deleted'].includes(kind),
  )
  const order = ['letter.recalled', 'invoice.voided', 'record.deleted']
  for (let i = 1; i < undone.length; i++)
    if (order.indexOf(undone[i]!) < order.indexOf(undone[i - 1]!))
      wrong.push(`undone in the order ${undone.join(', ')}`)
  return wrong
}
