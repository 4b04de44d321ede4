import { expect, it } from 'vitest'
import { env, type AnyConnector } from '../../define/index.ts'
import { businessApp } from '../../../connectors/business-app/index.ts'
import { easypost } from '../../../connectors/easypost/index.ts'
import { mailchimp } from '../../../connectors/mailchimp/index.ts'
import { quickbooks } from '../../../connectors/quickbooks/index.ts'
import { smtp } from '../../../connectors/smtp/index.ts'
import { stripe } from '../../../connectors/stripe/index.ts'
import { twilio } from '../../../connectors/twilio/index.ts'
import { planConnection, problemsWithExisting } from '../../vault/plan.ts'
import { provenConfig } from './provenConfig.ts'

const CONNECTORS: readonly AnyConnector[] = [
  businessApp,
  easypost,
  mailchimp,
  quickbooks,
  smtp,
  stripe,
  twilio,
]

it.each(CONNECTORS.map((connector) => [connector.name, connector] as const))(
  'a connection of %s without a stand-in is whole, goes nowhere, and has nothing of the real one',
  (name, connector) => {
    const real = connector.connect({
      ...(connector.webhooks && { endpoint: 'mine' }),
      secrets: { token: 'the real one', password: 'the real one' },
      webhookSecrets: [env('REAL')],
    })
    const alerts = { webhook: { url: 'https://pager.example.com/', secret: 'the real one' } }
    const proven = provenConfig({ connections: { [name]: real }, flows: [], alerts }, new Map(), 'http://x')
    const { plan, problems } = planConnection(name, proven.connections[name]!, {})
    expect([...problems, ...problemsWithExisting(plan, undefined)]).toEqual([])
    expect(new URL(plan.baseUrl).hostname).toBe('no-stand-in.invalid')
    expect(JSON.stringify({ ...proven.connections[name], connector: '' })).not.toContain('the real one')
    // Nor is anybody told.
    expect(proven.alerts).toBeUndefined()
  },
)
