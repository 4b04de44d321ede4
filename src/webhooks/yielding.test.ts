import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { neighbourhoodOf, whoYields, type Holding } from './yielding.ts'

const held = fc.integer({ min: 1, max: 1_000_000 })
const anyone = fc.record({
  address: fc.constantFrom('a', 'b', 'c', 'd', 'e'),
  endpoint: fc.constantFrom('x', 'y', 'z'),
  held,
})
const sumOf = (all: readonly Holding[]): number => all.reduce((sum, one) => sum + one.held, 0)

describe('who yields', () => {
  it('frees what is needed and no more, of what there is, each once', () => {
    fc.assert(
      fc.property(fc.array(anyone), fc.nat(5_000_000), (all, toFree) => {
        const yielding = whoYields(all, toFree)
        expect(new Set(yielding).size).toBe(yielding.length)
        for (const one of yielding) expect(all).toContain(one)
        expect(sumOf(yielding)).toBeGreaterThanOrEqual(Math.min(toFree, sumOf(all)))
        expect(yielding.length === 0 || sumOf(yielding.slice(0, -1)) < toFree).toBe(true)
      }),
    )
  })

  it('never takes from an address that holds less than another keeps', () => {
    fc.assert(
      fc.property(fc.array(anyone), fc.nat(2_000_000), (all, toFree) => {
        const yielding = new Set(whoYields(all, toFree))
        const kept = all.filter((one) => !yielding.has(one))
        for (const one of yielding)
          for (const other of new Set(kept.map(({ address }) => address))) {
            if (other === one.address) continue
            const before = sumOf(all.filter(({ address }) => address === one.address))
            expect(before).toBeGreaterThanOrEqual(sumOf(kept.filter(({ address }) => address === other)))
          }
      }),
    )
  })

  it('never takes a delivery from a provider that holds less than its share, whatever attackers do', () => {
    fc.assert(
      fc.property(
        fc.array(
          fc.record({ address: fc.constantFrom('a', 'b', 'c'), endpoint: fc.constantFrom('x', 'y'), held }),
          {
            minLength: 1,
          },
        ),
        fc.nat(),
        fc.integer({ min: 1, max: 1000 }),
        (attack, at, size) => {
          const provider: Holding = { address: 'provider', endpoint: 'x', held: size }
          const all: Holding[] = [...attack]
          all.splice(at % (attack.length + 1), 0, provider)
          const room = sumOf(attack) // full of the attack, and the delivery comes on top
          fc.pre(size <= room / 4) // three attackers and the provider
          expect(whoYields(all, size)).not.toContain(provider)
        },
      ),
    )
  })

  it('behind one shared address, takes the newest last: a flood cannot push out who came after it', () => {
    fc.assert(
      fc.property(fc.array(held, { minLength: 1 }), fc.integer({ min: 1, max: 1000 }), (flood, size) => {
        const attack = flood.map((bytes) => ({ address: 'balancer', endpoint: 'x', held: bytes }))
        const provider = { address: 'balancer', endpoint: 'x', held: size }
        fc.pre(size <= sumOf(attack))
        expect(whoYields([...attack, provider], size)).not.toContain(provider)
      }),
    )
  })

  it('behind one shared address, leaves another endpoint alone while the flooded one holds more', () => {
    const other = { address: 'balancer', endpoint: 'quiet', held: 10 }
    const flood = Array.from({ length: 50 }, () => ({ address: 'balancer', endpoint: 'flooded', held: 10 }))
    expect(whoYields([other, ...flood], 400)).not.toContain(other)
  })

  it('is the same for the same holdings, and does not touch them', () => {
    fc.assert(
      fc.property(fc.array(anyone), fc.nat(1_000_000), (all, toFree) => {
        const copy = structuredClone(all)
        expect(whoYields(all, toFree)).toEqual(whoYields(copy, toFree))
        expect(all).toEqual(copy)
      }),
    )
  })
})

describe('an address counts', () => {
  it.each([
    ['203.0.113.7', '203.0.113.7'],
    ['::ffff:203.0.113.7', '203.0.113.7'],
    ['2001:db8:1:2:3:4:5:6', '2001:db8:1:2::/64'],
    ['2001:db8:1:2::1', '2001:db8:1:2::/64'],
    ['2001:db8::1', '2001:db8:0:0::/64'],
    ['::1', '0:0:0:0::/64'],
    ['fe80::1%eth0', 'fe80:0:0:0::/64'],
    [undefined, ''],
  ])('%s as %s', (address, expected) => {
    expect(neighbourhoodOf(address)).toBe(expected)
  })
})
