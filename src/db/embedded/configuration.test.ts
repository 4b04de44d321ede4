import { describe, expect, it } from 'vitest'
import { configuration, portsToTry } from './configuration.ts'

describe('the configuration', () => {
  it('loosens nothing that makes a commit durable', () => {
    const text = configuration()
    for (const name of ['fsync', 'full_page_writes', 'synchronous_commit'])
      expect(text).toContain(`${name} = 'on'`)
  })

  it("puts the caller's settings before ours and quotes them", () => {
    const text = configuration({ fsync: 'off', search_path: `"it's"\\` })
    expect(text).toContain("fsync = 'off'")
    expect(text).not.toContain("fsync = 'on'")
    expect(text).toContain(`search_path = '"it''s"\\\\'`)
  })

  it.each([[{ 'work mem': '1' }], [{ "x'\ny": '1' }], [{ work_mem: "1'\nfsync = off" }]])(
    'refuses what could smuggle in another setting',
    (settings) => {
      expect(() => configuration(settings as unknown as Record<string, string>)).toThrow(/not a setting/)
    },
  )
})

describe('the ports to try', () => {
  it('begin with the last one and are the same for the same folder', () => {
    expect(portsToTry('/a', 23456)[0]).toBe(23456)
    expect(portsToTry('/a', undefined)).toEqual(portsToTry('/a', undefined))
    expect(portsToTry('/a', undefined)).not.toEqual(portsToTry('/b', undefined))
  })

  it('are distinct and lie below those of outgoing connections', () => {
    const ports = portsToTry('/home/ada/shop/.trestle/postgres', undefined)
    expect(new Set(ports).size).toBe(50)
    expect(Math.min(...ports)).toBeGreaterThanOrEqual(20_000)
    expect(Math.max(...ports)).toBeLessThan(30_000)
  })
})
