/** Flows over Mailchimp, proven; and beside them one that sends mails, for which there is no stand-in. */
import { expect, it } from 'vitest'
import { env, defineConfig, defineFlow } from '../../src/define/index.ts'
import { mailchimp } from '../../connectors/mailchimp/index.ts'
import { smtp } from '../../connectors/smtp/index.ts'
import { prove, writePage } from '../../src/prove/index.ts'

/** Each proof starts a server, and plays its flows several times. */
const LIMIT_MS = 600_000
const listId = 'a1b2c3d4e5'

/** Tags, which may be repeated, and notes an event, which may not. */
const welcomed = defineFlow({
  name: 'welcomed',
  on: mailchimp.on('subscribe'),
  key: ({ data }) => data.email,
  async run({ event, use }) {
    const member = { listId, email: event.data.email }
    await use(mailchimp).members.tag({ ...member, add: ['Welcome'], remove: [] })
    await use(mailchimp).members.addEvent({ ...member, name: 'welcomed' })
  },
})
const missed = defineFlow({
  name: 'missed',
  on: mailchimp.on('unsubscribe'),
  async run({ event, use }) {
    const to = [event.data.email]
    await use(smtp).send({ from: 'salon@example.com', to, subject: 'We miss you', text: 'Come back.' })
  },
})
const config = defineConfig({
  connections: {
    newsletter: mailchimp.connect({ settings: { server: 'us1' }, secrets: { token: env('MAILCHIMP_KEY') } }),
    mail: smtp.connect({
      baseUrl: 'smtps://smtp.example.com:465',
      secrets: { username: env('SMTP_USER'), password: env('SMTP_PASSWORD') },
    }),
  },
  flows: [welcomed, missed],
  // Nobody is told of what goes wrong in a proof, and nothing is needed for it.
  alerts: { webhook: { url: 'https://pager.example.com/hook', secret: env('PAGER_SECRET') } },
})

it(
  'Mailchimp has a verdict; mails are not covered, and the page says so',
  async () => {
    const report = await prove({
      config,
      folder: import.meta.dirname,
      seed: 'a seed',
      version: 'test',
      drills: ['reset', 'duplicates'],
    })
    expect(report.broken).toEqual([])
    expect(report.drills.map(({ drill }) => drill.id).sort()).toEqual(['duplicates', 'reset'])
    const { effects } = report.undisturbed
    expect(new Set(effects.filter(({ run }) => run).map(({ kind }) => kind))).toEqual(
      new Set(['member.tagged', 'member.event']),
    )
    // What acted before the connection broke was found again, and not done twice.
    const reset = report.drills.find(({ drill }) => drill.id === 'reset')!
    expect(reset.history.requests.some(({ status }) => status === 'reset')).toBe(true)
    expect([reset.verdict.lost, reset.verdict.twice]).toEqual([[], []])
    expect(report.notShown.join('\n')).toContain('The connection "mail" has no stand-in')
    expect(writePage(report)).toContain('has no stand-in')
  },
  LIMIT_MS,
)
