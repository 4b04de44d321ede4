/** What the API answers, as far as it is shown to people. Times are ISO 8601. */

export interface PageView<Item> {
  readonly items: readonly Item[]
  readonly next: string | null
  readonly more: boolean
}

export interface EventView {
  readonly id: string
  readonly type: string
  readonly summary: string | null
  readonly state: string
  readonly reason: string | null
  readonly reasonPath: string | null
  readonly connection: string | null
  readonly deliveryId: string
  readonly occurredAt: string | null
  readonly receivedAt: string
}

export interface EventDetailView extends EventView {
  readonly data?: unknown
  readonly dataUnreadable: string | null
  readonly delivery: { readonly id: string; readonly contentType: string; readonly bytes: number }
  readonly runs: readonly RunView[]
  readonly quarantine: string | null
}

export interface RunView {
  readonly id: string
  readonly flow: string
  readonly flowVersion: number
  readonly state: string
  readonly reasonCode: string | null
  readonly reason: string | null
  readonly event: {
    readonly id: string
    readonly type: string | null
    readonly summary: string | null
    readonly connection: string | null
  }
  readonly laneKey: string | null
  readonly replayOf: string | null
  readonly dueAt: string | null
  readonly createdAt: string
  readonly updatedAt: string
  readonly finishedAt: string | null
}

export interface AttemptView {
  readonly number: number
  readonly state: string | null
  readonly status: number | null
  readonly code: string | null
  readonly reason: string | null
  readonly begunAt: string
  readonly finishedAt: string | null
}

export interface StepView {
  readonly name: string
  readonly ordinal: number
  readonly kind: 'operation' | 'local' | 'sleep' | 'wait' | 'undo'
  readonly state: 'succeeded' | 'failed' | 'skipped' | 'waiting' | 'running'
  readonly connection: string | null
  readonly operation: string | null
  readonly summary: string | null
  readonly errorCode: string | null
  readonly error: string | null
  readonly result?: unknown
  readonly waits: { readonly inWords: string; readonly until: string | null } | null
  readonly attempts: readonly AttemptView[]
  readonly finishedAt: string | null
}

export interface RunDetailView extends RunView {
  readonly inWords: string
  readonly steps: readonly StepView[]
  readonly stepsOmitted: boolean
  readonly lane: { readonly key: string; readonly position: number } | null
  readonly result?: unknown
  readonly replays: readonly string[]
}

/** A dead letter has what its provider said last. */
export interface DeadLetterView extends RunView {
  readonly lastAnswer: { readonly inWords: string } | null
}

export interface LaneView {
  readonly flow: string
  readonly key: string
  readonly waiting: number
  readonly head: { readonly id: string; readonly inWords: string; readonly since: string }
}

export interface QuarantinedView {
  readonly id: string
  readonly kind: 'event' | 'answer'
  readonly state: string
  readonly connection: string | null
  readonly eventId: string | null
  readonly runId: string | null
  readonly step: { readonly name: string; readonly ordinal: number } | null
  readonly operation: string | null
  readonly path: string
  readonly reason: string
  readonly createdAt: string
  readonly settledAt: string | null
  readonly settledBy: string | null
  readonly payload?: { readonly text?: string; readonly base64?: string } | null
}

export interface IncidentView {
  readonly id: string
  readonly kind: string
  readonly state: string
  readonly title: string
  readonly what: string
  readonly since: string
  readonly holdsUp: string
  readonly todo: string
  readonly connection: string | null
  readonly flow: string | null
  readonly openedAt: string
  readonly acknowledgedAt: string | null
  readonly acknowledgedBy: string | null
  readonly resolvedAt: string | null
  readonly resolution: string | null
}

export interface IncidentDetailView extends IncidentView {
  readonly alerts: readonly {
    readonly channel: string
    readonly change: string
    readonly state: string
    readonly attempts: number
    readonly dueAt: string | null
    readonly settledAt: string | null
    readonly lastError: string | null
  }[]
  readonly entries: readonly LedgerView[]
}

export interface LedgerView {
  readonly id: string
  readonly at: string
  readonly actor: string
  readonly action: string
  readonly target: string
  readonly outcome: string
  readonly runId: string | null
}

export interface ConnectionView {
  readonly name: string
  readonly connector: string
  readonly title: string
  readonly state: string
  readonly baseUrl: string
  readonly declared: boolean
  readonly webhookUrl: string | null
  readonly secrets: readonly { readonly field: string; readonly updatedAt: string }[]
  readonly tokenExpiresAt: string | null
  readonly endings: readonly {
    readonly what: string
    readonly field: string | null
    readonly endsAt: string
    readonly by: 'trestle' | 'person' | 'provider'
    readonly todo: string
  }[]
  readonly check: {
    readonly checkedAt: string | null
    readonly outcome: string | null
    readonly code: string | null
    readonly reason: string | null
    readonly usedAt: string | null
    readonly dueAt: string
  } | null
}

export interface TestedView {
  readonly ok: boolean
  readonly outcome: string
  readonly code: string | null
  readonly reason: string | null
  readonly summary: string | null
  readonly status: number | null
  readonly ms: number | null
}

export interface ReplayedView {
  readonly runs: readonly string[]
  readonly effects: readonly { readonly summary: string }[]
}

export interface ScheduleView {
  readonly name: string
  readonly kind: 'cron' | 'poll'
  readonly state: string
  readonly declaration: string
  readonly nextDue: string | null
  readonly lagMs: number
  readonly lastDone: string | null
  readonly skipped: number
  readonly failures: number
  readonly lastError: { readonly code: string; readonly reason: string } | null
}

export interface OutageView {
  readonly id: string
  readonly connection: string
  readonly group: string | null
  readonly state: 'open' | 'half_open' | 'isolated' | 'over'
  readonly reason: string
  readonly inWords: string
  readonly beganAt: string
  readonly endedAt: string | null
  readonly probes: number
  readonly lastProbeAt: string | null
  readonly lastAnswer: string | null
  readonly nextProbeAt: string | null
  readonly waiting: { readonly oldestAt: string | null } | null
}

export interface BudgetView {
  readonly connection: string
  readonly limit: string
  readonly windowSeconds: number
  readonly declared: number
  readonly allowed: number
  readonly used: number
  readonly foreign: number
  readonly headroom: number
  readonly appliesTo: 'read' | 'write' | null
  readonly blockedUntil: string | null
  readonly lastUsedAt: string | null
  readonly forecast: { readonly goneAt: string | null; readonly reachedOn: string | null }
  readonly spentBy: readonly {
    readonly flow: string
    readonly calls: number
    readonly points: number
    readonly refused: number
    readonly share: number
  }[]
}

export interface CreatedTokenView {
  readonly id: string
  readonly name: string
  readonly role: string
  readonly scopes: readonly string[]
  /** Whether it may less than its role. */
  readonly narrowed: boolean
  readonly expiresAt: string | null
  readonly token: string
}

export interface ListedTokenView extends Omit<CreatedTokenView, 'token'> {
  readonly start: string | null
  readonly state: 'in_force' | 'expired' | 'revoked'
  readonly lastUsedAt: string | null
  readonly revokedAt: string | null
  readonly replacedBy: string | null
}

export interface RotatedTokenView {
  readonly made: CreatedTokenView
  readonly old: { readonly id: string; readonly expiresAt: string }
}
