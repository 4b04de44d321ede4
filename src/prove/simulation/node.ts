import { openInstallation, createPlatform, type Installation, type Platform } from '../../runtime/index.ts'
import type { CallOutcome, CallRequest } from '../../calls/index.ts'
import type { Config } from '../../define/index.ts'
import type { EgressRequest, EgressResult } from '../../egress/index.ts'
import { DatabaseLine } from './databaseLine.ts'
import { randomOfMoment } from './random.ts'
import type { SimulatedClock } from './simulatedClock.ts'

export interface NodeOptions {
  readonly name: string
  readonly config: Config
  readonly databaseUrl: string
  /** For checkpoints of the ledger. */
  readonly folder: string
  readonly clock: SimulatedClock
  readonly seed: string
  readonly masterKey: string
  readonly version: string
  readonly around: (
    node: SimulatedNode,
    request: CallRequest,
    call: () => Promise<CallOutcome>,
  ) => Promise<CallOutcome>
  readonly send: (
    request: EgressRequest,
    send: (request: EgressRequest) => Promise<EgressResult>,
  ) => Promise<EgressResult>
  readonly onFault: (what: string, error: unknown) => void
}

/** Said of every exchange that nothing stands in for. */
export const NO_STAND_IN = 'There is no stand-in for this connection.'

/** One node of the platform, whole: intake, engine, API. It can be made to die as a killed process does. */
export class SimulatedNode {
  readonly name: string
  readonly #clock: SimulatedClock
  readonly #revived: Promise<void>
  #revive: () => void = () => {}
  #installation!: Installation
  #platform!: Platform
  readonly line: DatabaseLine
  #dead = false

  private constructor({ name, clock }: NodeOptions, line: DatabaseLine) {
    this.name = name
    this.line = line
    this.#clock = clock
    this.#revived = new Promise((resolve) => {
      this.#revive = resolve
    })
  }

  static async start(options: NodeOptions): Promise<SimulatedNode> {
    const line = await DatabaseLine.open(options.databaseUrl)
    const node = new SimulatedNode(options, line)
    const { config, folder, clock, name, seed, masterKey } = options
    const onFault = (what: string, error: unknown): void => {
      if (!node.#dead) options.onFault(what, error)
    }
    const installation = await openInstallation({
      config,
      folder,
      databaseUrl: line.url,
      environment: { TRESTLE_MASTER_KEY: masterKey },
      clock: clock.view(name),
      random: randomOfMoment(seed, () => clock.now()),
      development: false,
      onFault,
    })
    const { egress } = installation
    node.#installation = {
      ...installation,
      egress: {
        ...egress,
        send: (request) => options.send(request, (sent) => egress.send(sent)),
        // No twin takes mails yet, and none may leave.
        mail: () => Promise.resolve({ as: 'not_sent', code: 'egress_denied', reason: NO_STAND_IN }),
      },
    }
    try {
      node.#platform = await createPlatform(node.#installation, {
        roles: ['intake', 'worker', 'api'],
        port: 0,
        version: options.version,
        watchdog: false,
        looksAtDisk: false,
        checksConnections: false,
        // Heartbeats are measured on the simulated clock, which leaps.
        leaseMs: Infinity,
        aroundCall: (request, call) => options.around(node, request, call),
        onFault,
      })
    } catch (error) {
      await installation.close()
      await line.close()
      throw error
    }
    return node
  }

  get url(): string {
    return this.#platform.url ?? ''
  }

  get dead(): boolean {
    return this.#dead
  }

  /** Resolves when it is brought back to life: what it was about to do, it does then. */
  get revived(): Promise<void> {
    return this.#revived
  }

  /** From now on nothing of it goes on: no timer fires, no call is made, no answer is heard. It signs nothing off. */
  die(): void {
    this.#dead = true
    this.#clock.stop(this.name)
    this.line.cut()
  }

  /** It goes on where it stopped, as a process that was only frozen would: its connections are gone meanwhile. */
  revive(): void {
    this.#clock.resume(this.name)
    this.line.mend()
    this.#revive()
  }

  async stop(): Promise<void> {
    this.revive()
    await this.#platform.stop()
    await this.#installation.close()
    await this.line.close()
  }
}
