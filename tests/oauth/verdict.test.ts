import { describe, expect, it } from 'vitest'
import { exchangesOf, judge, type Evidence, type Exchange, type Reached } from './verdict.ts'

const LEASE_MS = 30_000

function exchange(over: Partial<Exchange>): Exchange {
  return {
    connection: 'portal',
    node: 'a',
    token: 't1',
    askedAt: 1_000,
    slow: false,
    status: 200,
    endedAt: 1_100,
    whole: true,
    ...over,
  }
}

function reached(point: Reached['point'], at: number, node = 'a'): Reached {
  return { node, connection: 'portal', point, at }
}

function evidence(over: Partial<Evidence>): Evidence {
  return {
    exchanges: [],
    reached: [],
    deaths: new Map(),
    refusals: [],
    told: [],
    successes: [],
    leaseMs: LEASE_MS,
    ...over,
  }
}

const { status: _, ...unheard } = exchange({ endedAt: 1_050 })
const refusedAgain = exchange({ node: 'b', askedAt: 31_000, status: 400, endedAt: 31_100 })

describe('the verdict on a refresh', () => {
  it('is good where each token was asked with once', () => {
    const verdict = judge(evidence({ exchanges: [exchange({}), exchange({ token: 't2', askedAt: 9_000 })] }))
    expect(verdict).toMatchObject({
      expiries: 2,
      questions: 2,
      askedOnce: 2,
      askedAgain: 0,
      lost: 0,
      broken: [],
    })
  })

  it('is bad where two asked with one token and the first lived', () => {
    const { broken } = judge(evidence({ exchanges: [exchange({}), refusedAgain] }))
    expect(broken).toEqual([expect.stringContaining('while the first lived')])
  })

  it('is good where the first was killed before the server had heard of it', () => {
    const verdict = judge(
      evidence({
        exchanges: [unheard, exchange({ node: 'b', askedAt: 31_000, endedAt: 31_100 })],
        deaths: new Map([['a', 1_040]]),
      }),
    )
    expect(verdict).toMatchObject({ expiries: 1, askedOnce: 0, askedAgain: 1, lost: 0, broken: [] })
  })

  const lost = {
    exchanges: [exchange({}), refusedAgain],
    deaths: new Map([['a', 1_050]]),
    refusals: [{ connection: 'portal', at: 31_100 }],
    told: [{ connection: 'portal', at: 32_050 }],
  }

  it('excuses a grant whose answer was lost with its node, and says when somebody was told', () => {
    expect(judge(evidence(lost))).toMatchObject({
      lost: 1,
      diedWithoutReason: 0,
      toldMs: [31_000],
      broken: [],
    })
  })

  it('does not where nobody was told', () => {
    expect(judge(evidence({ ...lost, told: [] })).broken).toEqual(['1 lost grants were told to nobody'])
  })

  it('does not where the node had committed the answer', () => {
    const { broken } = judge(evidence({ ...lost, reached: [reached('refresh.kept', 1_040)] }))
    expect(broken).toContainEqual(expect.stringContaining('although the answer was committed'))
  })

  it('does not where what was lost is another one', () => {
    const refusals = [...lost.refusals, { connection: 'portal', at: 40_000 }]
    expect(judge(evidence({ ...lost, refusals }))).toMatchObject({ diedWithoutReason: 1 })
  })

  it('counts recovery from the end of the turn of who died, without what the token endpoint takes', () => {
    const verdict = judge(
      evidence({
        exchanges: [exchange({ node: 'b', askedAt: 31_500, endedAt: 46_500 })],
        reached: [reached('refresh.taken', 1_000)],
        deaths: new Map([['a', 1_010]]),
        successes: [{ connection: 'portal', at: 46_700 }],
      }),
    )
    expect(verdict.recoveredMs).toEqual([700])
  })
})

it('the lines of the witness are put together by their numbers', () => {
  const asked = { as: 'asked', connection: 'portal', token: 't', slow: 'not' } as const
  expect(
    exchangesOf([
      { ...asked, number: 1, node: 'a', at: 1 },
      { ...asked, number: 2, node: 'b', at: 2 },
      { as: 'withdrawn', number: 2, at: 3 },
      { as: 'answered', number: 1, at: 4, status: 200 },
      { as: 'handed', number: 1, at: 5, whole: true },
    ]),
  ).toMatchObject([
    { node: 'a', askedAt: 1, status: 200, endedAt: 5, whole: true },
    { node: 'b', askedAt: 2, endedAt: 3, whole: false },
  ])
})
