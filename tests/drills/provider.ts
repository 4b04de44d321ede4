import { appendFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { DAY, SECOND, seededRandom, systemClock } from '../../src/base/index.ts'
import {
  createKeyStore,
  createTwin,
  route,
  type TwinAnswer,
  type TwinRequest,
} from '../../src/testing/index.ts'
import { readChildOptions, tellParent } from '../crash/child.ts'
import type { ProviderOptions, ProviderReady } from '../crash/provider.ts'
import { WALL_LIMITS } from './connectors.ts'
import { ATTEMPTS_FILE, chooseForm, SINGLE_FORMS, WALLS, type Attempt, type Form } from './wallForms.ts'

/**
 * Two providers in a process of their own: one that does what it is asked, and one that lets in as many as it says,
 * refuses now and then, and at times everybody, each time saying when to come again.
 */
const { witnessFile } = readChildOptions() as ProviderOptions
const attemptsFile = join(dirname(witnessFile), ATTEMPTS_FILE)
const keys = createKeyStore({
  clock: systemClock,
  lifetimeMs: DAY,
  onMismatch: () => ({ status: 400, json: { error: 'key_reused' } }),
  onInFlight: () => ({ status: 409, json: { error: 'in_flight' } }),
  // What was refused was not done.
  remembers: ({ status }) => status < 300,
})
/** Of first attempts outside the walls, until each form was played once. */
const REFUSED = 0.15
const random = seededRandom('wall')
const arrivals: number[] = []
const seen = new Set<string>()
let refusals = 0
let firstAt: number | undefined

function act(request: TwinRequest<undefined>): TwinAnswer {
  const { ref } = request.json as { ref: string }
  const id = twin.newId('obj_')
  request.effect({ kind: 'charge.created', key: ref, ref: id, summary: `charge ${ref}` })
  return { status: 200, json: { id } }
}

/** The answer of the wall, or `undefined`: it lets through. */
function refusal(
  key: string,
  now: number,
): { readonly form: Form; readonly answer: TwinAnswer; readonly notBefore: number } | undefined {
  firstAt ??= now
  const isKnown = key === '' || seen.has(key)
  seen.add(key)
  const wall = WALLS.find(({ fromMs, toMs }) => now >= firstAt! + fromMs && now < firstAt! + toMs)
  if (wall !== undefined) return chooseForm(wall.form, now, firstAt + wall.toMs)
  if (WALL_LIMITS.some(({ allowed, windowMs }) => countSince(now - windowMs) > allowed))
    return chooseForm('limit', now, now + SECOND)
  if (isKnown || refusals === SINGLE_FORMS.length || random.next() > REFUSED) return undefined
  return chooseForm(SINGLE_FORMS[refusals++]!, now, 0)
}

function countSince(from: number): number {
  return arrivals.length - arrivals.findIndex((at) => at > from)
}

async function answered(
  request: TwinRequest<undefined>,
  ref: string,
  pass: () => TwinAnswer | Promise<TwinAnswer>,
): Promise<TwinAnswer> {
  const at = systemClock.now()
  arrivals.push(at)
  const refused = refusal(ref, at)
  const answer = refused?.answer ?? (await pass())
  const attempt: Attempt = {
    ref,
    at,
    status: answer.status,
    form: refused?.form,
    notBefore: refused?.notBefore,
    answeredAt: systemClock.now(),
  }
  appendFileSync(attemptsFile, `${JSON.stringify(attempt)}\n`)
  return answer
}

const twin = createTwin<undefined>({
  name: 'drill',
  state: undefined,
  witnessFile,
  requestLogLimit: 100,
  routes: [
    route('POST', '/charges', (request) =>
      keys.once(request, request.headers['idempotency-key'], () => act(request)),
    ),
    route('GET', '/ping', () => ({ status: 200, json: { id: 'ping' } })),
    route('POST', '/walled/charges', (request) =>
      answered(request, (request.json as { ref: string }).ref, () =>
        keys.once(request, request.headers['idempotency-key'], () => act(request)),
      ),
    ),
    route('GET', '/walled/ping', (request) =>
      answered(request, '', () => ({ status: 200, json: { id: 'ping' } })),
    ),
  ],
})

tellParent({ as: 'ready', url: await twin.start(), pid: process.pid } satisfies ProviderReady)
