/**
 * A twin of Mailchimp: audiences, members, tags, events and campaigns of the Marketing API 3.0, and the webhooks of
 * audiences.
 *
 * It is no kinder than Mailchimp: no idempotency key, an archiving that is refused the second time, people who left and
 * cannot be subscribed again, addresses that were deleted for good, webhooks that nothing signs, whose times are whole
 * seconds.
 */
import { createTwin, systemClock, type Clock, type OAuthServer, type Twin } from 'trestle/testing'
import { createTwinAccount, OAUTH_PATHS } from './twinAccount.ts'
import { problem, timeText, type MailchimpState, type TwinCampaign, type TwinMember } from './twinAudience.ts'
import { createMembers } from './twinMembers.ts'
import { mailchimpRoutes } from './twinRoutes.ts'
import { createTeller, RETRIES_MS } from './twinWebhooks.ts'

export type { MailchimpState, TwinAudience, TwinCampaign, TwinMember } from './twinAudience.ts'

export interface MailchimpTwinOptions {
  /** Default `key-of-the-twin-us1`. */
  readonly apiKey?: string
  /** The app that may be authorized by OAuth. Default `mailchimp-client`, `mailchimp-client-secret`. */
  readonly client?: { readonly id: string; readonly secret: string }
  /** The account's name. Another is another account. Default `Salon Example`. */
  readonly accountName?: string
  /** The id of the audience that there is at first. Default `a1b2c3d4e5`. */
  readonly listId?: string
  /** Waits before further attempts of a webhook. Default: for 75 minutes. */
  readonly retryAfterMs?: readonly number[]
  readonly seed?: string
  readonly clock?: Clock
  readonly witnessFile?: string
}

interface Address {
  readonly email: string
  /** Default: the audience that there is at first. */
  readonly listId?: string
}

/** What can be made to happen at Mailchimp. Each resolves after the first attempt of its webhook. */
export interface MailchimpTwinMethods {
  /** Where an audience's events are sent from now on, and the secret in its URL. `api`: also of what the API did. */
  readonly subscribe: (url: string, secret: string, options?: { readonly api?: boolean }) => void
  /** Mailchimp asks for the URL with GET, as it does when the webhook is set up. Whether it would take it. */
  readonly validate: (url: string, secret: string) => Promise<boolean>
  /** Somebody signs up on a form. */
  readonly signedUp: (
    member: Address & { readonly mergeFields?: Readonly<Record<string, unknown>> },
  ) => Promise<TwinMember>
  /** Somebody leaves by the link in an e-mail: only they can come back. */
  readonly left: (member: Address) => Promise<TwinMember>
  /** Somebody changes what is known of them. */
  readonly profileChanged: (
    member: Address & { readonly mergeFields: Readonly<Record<string, unknown>> },
  ) => Promise<TwinMember>
  readonly addressChanged: (member: Address & { readonly newEmail: string }) => Promise<TwinMember>
  /** An e-mail came back, or its reader complained. */
  readonly bounced: (member: Address & { readonly reason?: 'hard' | 'abuse' }) => Promise<TwinMember>
  readonly campaignSent: (campaign: {
    readonly subject: string
    readonly listId?: string
  }) => Promise<TwinCampaign>
}

export type MailchimpTwin = Twin<MailchimpState> &
  MailchimpTwinMethods & {
    readonly apiKey: string
    readonly listId: string
    readonly oauth: OAuthServer
    /** For `tokenUrl` of a connection, so that the twin stands in for Mailchimp's login server, too. */
    readonly tokenUrl: () => string
  }

/** Makes a twin of Mailchimp. It does nothing before `start`. */
export function createMailchimpTwin(options: MailchimpTwinOptions = {}): MailchimpTwin {
  const clock = options.clock ?? systemClock
  const apiKey = options.apiKey ?? 'key-of-the-twin-us1'
  const listId = options.listId ?? 'a1b2c3d4e5'
  const state: MailchimpState = { audiences: new Map(), campaigns: new Map(), tagNames: [] }
  const now = (): number => clock.now()
  const digits = (length: number): string =>
    Array.from({ length }, () => Math.floor(core.random.next() * 16).toString(16)).join('')
  const members = createMembers({ state, digits, now })
  members.addAudience('Newsletter', listId)
  const account = createTwinAccount({
    clock,
    seed: options.seed ?? 'mailchimp',
    client: options.client ?? { id: 'mailchimp-client', secret: 'mailchimp-client-secret' },
    server: 'us1',
    accountName: options.accountName ?? 'Salon Example',
  })
  const teller = createTeller({ now, send: (webhook) => core.webhooks.send(webhook) })

  const found = ({ email, listId: list = listId }: Address) => {
    const audience = members.audienceOf(list)
    const member = [...(audience?.members.values() ?? [])].find((one) => one.email_address === email)
    if (audience === undefined || member === undefined)
      throw new Error(`The twin's audience ${list} has no member ${email}.`)
    return { audience, member }
  }
  const audienceNamed = (list = listId) => {
    const audience = members.audienceOf(list)
    if (audience === undefined) throw new Error(`The twin has no audience ${list}.`)
    return audience
  }

  const methods: MailchimpTwinMethods = {
    subscribe: (url, secret, wish) => teller.subscribe(url, secret, wish),
    validate: (url, secret) => teller.validate(url, secret),
    async signedUp({ email, listId: list, mergeFields }) {
      const audience = audienceNamed(list)
      const change = members.upsert(
        audience,
        email,
        'subscribed',
        { status: 'subscribed', mergeFields },
        'user',
      )
      await teller.change(audience, change, 'user')
      return change.member
    },
    async left(address) {
      const { audience, member } = found(address)
      const change = members.leave(audience, member)
      await teller.change(audience, change, 'user')
      return change.member
    },
    async profileChanged({ mergeFields, ...address }) {
      const { audience, member } = found(address)
      const change = members.update(audience, member, { mergeFields }, 'user')
      await teller.change(audience, change, 'user')
      return change.member
    },
    async addressChanged({ newEmail, ...address }) {
      const { audience, member } = found(address)
      const moved = members.readdress(audience, member, newEmail)
      await teller.readdressed(audience, member, moved)
      return moved
    },
    async bounced({ reason = 'hard', ...address }) {
      const { audience, member } = found(address)
      const { member: cleaned } = members.update(audience, member, { status: 'cleaned' }, 'user')
      await teller.cleaned(audience, cleaned, reason)
      return cleaned
    },
    async campaignSent({ subject, listId: list }) {
      const audience = audienceNamed(list)
      const readers = [...audience.members.values()].filter(({ status }) => status === 'subscribed').length
      const at = timeText(now())
      const sent: TwinCampaign = {
        id: digits(10),
        type: 'regular',
        status: 'sent',
        create_time: at,
        send_time: at,
        emails_sent: readers,
        content_type: 'template',
        recipients: { list_id: audience.list.id, list_name: audience.list.name, recipient_count: readers },
        settings: { subject_line: subject, title: subject, from_name: 'Salon Example' },
      }
      state.campaigns.set(sent.id, sent)
      await teller.campaign(sent)
      return sent
    },
  }

  const core: Twin<MailchimpState> = createTwin<MailchimpState>({
    name: 'mailchimp',
    state,
    routes: [
      ...account.routes,
      ...mailchimpRoutes({
        state,
        members,
        tellChange: (audience, change) => void teller.change(audience, change, 'api'),
        tellRemoved: (audience, member) => void teller.removed(audience, member, 'api'),
      }),
    ],
    authorize: ({ headers, path }) =>
      account.mayAsk({ headers, path }) ||
      (path !== OAUTH_PATHS.metadata && isKey(headers['authorization'] ?? '', apiKey))
        ? undefined
        : {
            status: 401,
            headers: { 'content-type': 'application/problem+json; charset=utf-8' },
            json: problem(
              401,
              'API Key Invalid',
              "Your API key may be invalid, or you've attempted to access the wrong datacenter.",
            ),
          },
    errorBody: (status, message) => problem(status, TITLES[status] ?? 'Bad Request', message),
    headers: ({ number }) => ({ 'x-request-id': `twin-${number}` }),
    actions: {
      signedUp: methods.signedUp,
      left: methods.left,
      profileChanged: methods.profileChanged,
      addressChanged: methods.addressChanged,
      bounced: methods.bounced,
      campaignSent: methods.campaignSent,
      subscribe: ({ url, secret, api }: { url: string; secret: string; api?: boolean }) =>
        teller.subscribe(url, secret, api === undefined ? {} : { api }),
    },
    webhooks: { retryAfterMs: options.retryAfterMs ?? RETRIES_MS, timeoutMs: 10_000 },
    seed: options.seed,
    clock,
    witnessFile: options.witnessFile,
  })
  const tokenUrl = (): string => `${core.url}${OAUTH_PATHS.token}`
  return Object.assign(core, methods, { apiKey, listId, oauth: account.oauth, tokenUrl })
}

const TITLES: Readonly<Record<number, string>> = {
  404: 'Resource Not Found',
  429: 'Too Many Requests',
  500: 'Internal Server Error',
  503: 'Service Unavailable',
}

/** Any user's name with the key as the password, or the key as a bearer token. */
function isKey(authorization: string, apiKey: string): boolean {
  const [scheme = '', credential = ''] = authorization.split(' ')
  if (scheme === 'Bearer') return credential === apiKey
  const decoded = Buffer.from(credential, 'base64').toString()
  return scheme === 'Basic' && decoded.slice(decoded.indexOf(':') + 1) === apiKey
}
