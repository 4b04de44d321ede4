import { describe, expect, it } from 'vitest'
import { cron, CRON_LENGTH, defineConfig, defineFlow } from '../index.ts'

describe('cron', () => {
  it('takes the five fields as they are written', () => {
    for (const expression of [
      '* * * * *',
      '*/15 * * * *',
      '0 8 * * 1',
      '0 8 * * MON-FRI',
      '0 8,12 1,15 JAN-mar *',
      '5-59/10 22-23 * * 7',
      '0 0 29 2 *',
    ])
      expect(cron(expression)).toMatchObject({ kind: 'cron', expression, zone: 'UTC', missed: 'last' })
    expect(cron('  0   8 * * 1 ', { zone: 'Europe/Berlin', missed: 'all' })).toMatchObject({
      expression: '0 8 * * 1',
      zone: 'Europe/Berlin',
      missed: 'all',
    })
  })

  it.each([
    ['', /has 0 fields/],
    ['* * * *', /has 4 fields.*every Monday at 08:00/],
    ['0 0 8 * * 1', /has 6 fields/],
    ['@daily', /has 1 field/],
    ['60 * * * *', /60/],
    ['* 24 * * *', /24/],
    ['0 8 * * 8', /8/],
    ['0 8 32 * *', /32/],
    ['0 8 L * *', /"L" is no day of month/],
    ['0 8 * * 1#2', /"1#2" is no day of week/],
    ['0 8 * mon *', /"mon" is no month/],
    ['0 8 ? * *', /"\?" is no day of month/],
    ['1,,2 * * * *', /"1,,2" is no minute/],
    ['5/10 * * * *', /stepping/],
    ['*/0 * * * *', /step/],
    ['0 0 31 2 *', /never comes/],
  ])('refuses %j in words that say what is wrong', (expression, words) => {
    expect(() => cron(expression)).toThrow(expect.objectContaining({ code: 'cron_invalid' }))
    expect(() => cron(expression)).toThrow(words)
  })

  it('refuses an expression that is too long', () => {
    const minutes = (count: number): string => `${Array.from({ length: count }, () => '1').join(',')} * * * *`
    expect(minutes(124)).toHaveLength(CRON_LENGTH - 1)
    expect(() => cron(minutes(124))).not.toThrow()
    expect(() => cron(minutes(125))).toThrow(/has 257 characters; at most 256/)
  })

  it('refuses what is no zone, and what is no policy', () => {
    expect(() => cron('0 8 * * 1', { zone: 'Berlin' })).toThrow(/"Berlin" is not a time zone.*Europe\/Berlin/)
    expect(() => cron('0 8 * * 1', { zone: '+02:00' })).toThrow(/not a time zone/)
    expect(() => cron('0 8 * * 1', { missed: 'some' as 'all' })).toThrow(/'all', 'last' or 'skip'/)
  })

  it('belongs to its flow, and needs no connection', () => {
    const flow = defineFlow({
      name: 'weekly-report',
      on: cron('0 8 * * 1'),
      run: ({ event }) => event.data.scheduledFor.length,
    })
    expect(flow.on.type).toBe('schedule.weekly-report')
    expect(() => defineConfig({ connections: {}, flows: [flow] })).not.toThrow()
  })
})
