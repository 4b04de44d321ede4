import { expect, it } from 'vitest'
import { createGroupCommit, tenantsApart } from './groupCommit.ts'

interface Item {
  readonly tenant: string
  readonly n: number
}

async function batchesOf(backend: 'postgres' | 'citus', items: readonly Item[]): Promise<Item[][]> {
  const batches: Item[][] = []
  const commit = createGroupCommit<Item, void>({
    key: () => '',
    lanes: 1,
    most: 3,
    apart: tenantsApart({ backend }, (item: Item) => item.tenant),
    flush: (batch) => {
      batches.push([...batch])
      return Promise.resolve(batch.map(() => undefined))
    },
  })
  await Promise.all(items.map((item) => commit.add(item)))
  return batches
}

const items = ['a', 'b', 'a', 'b', 'a', 'a', 'c'].map((tenant, n) => ({ tenant, n }))

it('one transaction keeps to one tenant where the tables are distributed, and each tenant keeps its order', async () => {
  const batches = await batchesOf('citus', items)
  expect(batches.map((batch) => batch.map(({ tenant, n }) => `${tenant}${n}`))).toEqual([
    ['a0', 'a2', 'a4'],
    ['a5'],
    ['b1', 'b3'],
    ['c6'],
  ])
})

it('the test notices: on one PostgreSQL a transaction takes them as they come', async () => {
  const batches = await batchesOf('postgres', items)
  expect(batches.some((batch) => new Set(batch.map(({ tenant }) => tenant)).size > 1)).toBe(true)
  expect(batches.flat()).toEqual(items)
})
