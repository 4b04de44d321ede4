import { Option, type Command } from 'commander'
import { UsageError } from '../../base/index.ts'
import type { ConnectionDefinition } from '../../define/index.ts'
import { applyConfiguration } from '../applyConfiguration.ts'
import { addCommand, addGroup, type CommandContext } from '../command.ts'
import { authorizeInBrowser, needsBrowser } from '../connections/authorize.ts'
import { addByHand } from '../connections/byHand.ts'
import { declaredFields, definitionOf } from '../connections/definition.ts'
import { addTaking } from '../connections/taking.ts'
import { addCheck } from '../connections/check.ts'
import { addRotation } from '../connections/rotate.ts'
import { EXIT } from '../exitCodes.ts'
import { withApi } from '../withApi.ts'
import { facts, table } from '../output.ts'
import { collect, pairs } from '../parse.ts'
import { collectSecrets, WEBHOOK_SECRET, type CollectedSecrets } from '../secrets/collectSecrets.ts'
import { terminal } from '../secrets/prompt.ts'
import { wantedSecrets } from '../secrets/sources.ts'
import type { Session } from '../session.ts'
import { timeWords } from '../times.ts'
import type { ConnectionView, TestedView } from '../views.ts'
import { stateWords } from '../words.ts'

interface AddOptions {
  readonly connector?: string
  readonly baseUrl?: string
  readonly endpoint?: string
  readonly setting?: readonly string[]
  readonly allowPrivateNetwork?: boolean
  readonly secret?: readonly string[]
  readonly secretFile?: readonly string[]
  readonly browser: boolean
  readonly authorize: boolean
  readonly account?: string
}

/** `trestle connections`: links to providers and their secrets. */
export function addConnections(program: Command): void {
  const connections = addGroup(program, 'connections', 'links to providers, and their secrets')
  listCommand(connections)
  addConnectionCommand(connections)
  testCommand(connections)
  verifyCommand(connections)
  addByHand(connections)
  addRotation(connections)
  addCheck(connections)
  addTaking(connections)
}

function listCommand(connections: Command): void {
  addCommand(connections, {
    usage: 'list',
    summary: 'the connections, which secrets each has, and where its webhooks come in',
    isDefault: true,
    details: 'Secrets themselves are never shown.',
    examples: ['trestle connections', 'trestle connections list --json'],
    run: (context) =>
      withApi(context, async (api, session) => {
        const answer = await api.get('/connections')
        const { items } = answer.value as { readonly items: readonly ConnectionView[] }
        context.output.answerJson(answer.json, () => listWords(items, notApplied(items, session), context))
      }),
  })
}

/** Declared in the configuration, and not in the database before the first start. */
function notApplied(items: readonly ConnectionView[], { installation }: Session): string[] {
  return Object.keys(installation.config.connections).filter(
    (name) => !items.some((one) => one.name === name),
  )
}

function listWords(
  items: readonly ConnectionView[],
  waiting: readonly string[],
  { clock }: CommandContext,
): string {
  const shown = table(
    ['NAME', 'PROVIDER', 'STATE', 'SECRETS', 'WEBHOOKS COME IN AT'],
    items.map((one) => [
      one.name,
      one.title,
      `${stateWords(one.state)}${one.tokenExpiresAt ? `, token until ${timeWords(one.tokenExpiresAt, clock)}` : ''}`,
      one.secrets.map((secret) => secret.field).join(', ') || 'none',
      one.webhookUrl ?? '-',
    ]),
    'There are no connections. Declare one in trestle.config.ts.',
  )
  if (waiting.length === 0) return shown
  return `${shown}\n\nDeclared and set up with the next start: ${waiting.join(', ')}.`
}

function addConnectionCommand(connections: Command): void {
  addCommand(connections, {
    usage: 'add <name>',
    summary: 'add a connection, or give one its secrets',
    details: [
      'Of a connection that trestle.config.ts declares, only the secrets are taken. Secrets are asked for without echo, or',
      'read from stdin, a file or an environment variable; never from the command line, where others can see them.',
      'Where a person agrees at the provider (OAuth) and no refresh token is given, a browser is opened for it, and the',
      'command waits for ten minutes at most. Trestle must run, since the provider sends the browser back to it.',
    ].join('\n'),
    examples: [
      'trestle connections add stripe',
      `trestle connections add stripe-eu --connector stripe --secret token=prompt --secret ${WEBHOOK_SECRET}=prompt`,
      'pass show hubspot | trestle connections add hubspot --secret token=stdin',
      'trestle connections add hubspot --no-browser',
      'trestle connections add books --connector quickbooks --setting realmId=123 --secret-file refreshToken=./token',
    ],
    options: [
      new Option(
        '--connector <name>',
        'whose API it is; needed where trestle.config.ts does not declare the name',
      ),
      new Option(
        '--secret <field[=source]>',
        `where a secret comes from: prompt, stdin or env:VARIABLE; several times; "${WEBHOOK_SECRET}" verifies webhooks`,
      ).argParser(collect),
      new Option('--secret-file <field=path>', 'a file that holds a secret; several times').argParser(
        collect,
      ),
      new Option('--setting <name=value>', 'a setting that is no secret; several times').argParser(collect),
      new Option('--base-url <url>', "another address than the provider's, such as a sandbox"),
      new Option('--endpoint <path>', 'what stands behind /webhooks/; by default the name'),
      new Option('--allow-private-network', 'allow private addresses, for systems on premises'),
      new Option('--no-browser', 'print the address where a person agrees, and open no browser'),
      new Option('--no-authorize', 'only seal the secrets; a person agrees later'),
      new Option('--account <id>', 'which account to take where the authorization opens several'),
    ],
    run: (context, [name = ''], options: AddOptions) => {
      const wanted = wantedSecrets(options.secret, options.secretFile)
      return withApi(context, async (api, session) => {
        const { installation, tenant } = session
        const { vault, config } = installation
        const declared = config.connections[name]
        const connector = connectorFor(name, options.connector, installation)
        const listed = (await vault.listConnections(tenant)).find((one) => one.name === name)
        const held = [
          ...(listed?.secrets ?? []).map((secret) => secret.field),
          ...declaredFields(declared, process.env),
        ]
        const collected = await collectSecrets({
          connector,
          wanted,
          held,
          terminal,
          environment: process.env,
        })
        const { id, change } = await vault.addConnection({
          tenant,
          name,
          definition: definitionOf({
            connector,
            declared,
            collected,
            settings: pairs(options.setting, '--setting'),
            baseUrl: options.baseUrl,
            endpoint: options.endpoint,
            allowPrivateNetwork: options.allowPrivateNetwork,
            environment: process.env,
          }),
          actor: context.actor,
        })
        const fields = [
          ...Object.keys(collected.secrets),
          ...(collected.webhookSecrets ? [WEBHOOK_SECRET] : []),
        ]
        const inBrowser = options.authorize && (await needsBrowser(session, name, fields))
        if (inBrowser)
          await authorizeInBrowser(context, session, api, name, {
            browser: options.browser && !context.output.json,
            account: options.account,
          })
        const answer = { id, name, connector: connector.name, change, secrets: fields, authorized: inBrowser }
        context.output.answer(answer, () =>
          [
            inBrowser
              ? `The connection "${name}" to ${connector.title} is authorized.${fields.length > 0 ? ` Sealed: ${fields.join(', ')}.` : ''}`
              : change === 'unchanged'
                ? `The connection "${name}" is as it was: these secrets were sealed already.`
                : `The connection "${name}" to ${connector.title} was ${change}.${fields.length > 0 ? ` Sealed: ${fields.join(', ')}.` : ''}`,
            ...overruled(declared, collected),
            `Try it with: trestle connections test ${name}`,
          ].join('\n'),
        )
      })
    },
  })
}

/** What the configuration declares is written again at each start. */
function overruled(declared: ConnectionDefinition | undefined, given: CollectedSecrets): string[] {
  const fields = Object.keys(given.secrets).filter((field) => declared?.secrets?.[field] !== undefined)
  if (given.webhookSecrets && declared?.webhookSecrets !== undefined) fields.push('webhookSecrets')
  if (fields.length === 0) return []
  return [
    `But trestle.config.ts declares ${fields.join(' and ')} too, and wins at the next start: take ${fields.length === 1 ? 'it' : 'them'} out there.`,
  ]
}

/** The connector that the configuration has for the name, or the one that was named. */
function connectorFor(
  name: string,
  given: string | undefined,
  { config, connectorNamed }: Session['installation'],
) {
  const declared = config.connections[name]?.connector
  if (declared !== undefined) {
    if (given === undefined || given === declared.name) return declared
    throw new UsageError(
      'connector_differs',
      `trestle.config.ts declares "${name}" as a connection to ${declared.name}, not to ${given}. Leave --connector out, or choose another name.`,
    )
  }
  const known = [...new Set(Object.values(config.connections).map((one) => one.connector.name))]
  if (given === undefined)
    throw new UsageError(
      'connector_missing',
      `trestle.config.ts declares no connection "${name}". Declare it there, or say whose API it is: --connector ${known[0] ?? 'NAME'}`,
    )
  const connector = connectorNamed(given)
  if (connector) return connector
  throw new UsageError(
    'connector_missing',
    `No connection in trestle.config.ts uses the connector "${given}"${known.length > 0 ? `; those in use are: ${known.join(', ')}` : ''}. Import it there and declare the connection: "${name}": ${given.replace(/-(\w)/g, (_, letter: string) => letter.toUpperCase())}.connect({}). Then this command gives it its secrets.`,
  )
}

function testCommand(connections: Command): void {
  addCommand(connections, {
    usage: 'test <name>',
    summary: "make the connector's check over a connection: a cheap read",
    details: 'Ends with 1 where the provider does not answer as it should.',
    examples: ['trestle connections test stripe'],
    run: (context, [name = '']) =>
      withApi(context, async (api, session) => {
        await applyConfiguration(session)
        const answer = await api.post('/connections/{name}/test', { params: { name } })
        const tested = answer.value as TestedView
        context.output.answerJson(answer.json, () => testedWords(name, tested))
        return tested.ok ? EXIT.ok : EXIT.failed
      }),
  })
}

function testedWords(name: string, tested: TestedView): string {
  if (tested.ok)
    return `The connection "${name}" works: ${tested.summary ?? 'the provider answered as it should'} (${tested.status}, ${Math.round(tested.ms ?? 0)} ms).`
  return facts([
    ['Connection', name],
    ['Outcome', stateWords(tested.outcome)],
    ['Why', tested.reason],
    ['Code', tested.code],
    ['Answered', tested.status],
  ])
}

function verifyCommand(connections: Command): void {
  addCommand(connections, {
    usage: 'verify <name>',
    summary: 'hold the live service against the connector, with your key: reads only',
    details: [
      "Makes the connector's check and every read that needs no input of yours, and holds each answer against its",
      'contract. Nothing is written at the provider. Ends with 1 where an answer does not fit.',
    ].join('\n'),
    examples: ['trestle connections verify stripe', 'trestle connections verify hubspot --json'],
    run: (context, [name = '']) =>
      context.withSession(async (session) => {
        const { verifyConnection } = await import('../connections/verify.ts')
        await applyConfiguration(session)
        const verified = await verifyConnection(session, name, context.output)
        context.output.answer(verified, () =>
          [
            `${verified.title} at ${verified.baseUrl}${verified.live ? '' : ' (not the live service)'}, ${timeWords(verified.at, context.clock)}`,
            '',
            table(
              ['READ', 'OUTCOME', 'ANSWERED', 'WHY'],
              verified.reads.map((read) => [
                read.operation,
                stateWords(read.outcome),
                read.status ?? '',
                read.reason ?? '',
              ]),
              'It has no read that needs no input.',
            ),
            '',
            verified.ok ? 'Every answer fits its contract.' : 'Not every answer is as the connector expects.',
          ].join('\n'),
        )
        return verified.ok ? EXIT.ok : EXIT.failed
      }),
  })
}
