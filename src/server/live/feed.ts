import { MINUTE, SECOND, type Clock } from '../../base/index.ts'
import { cursorOfNow, type Queryable } from '../../db/index.ts'
import { isSettled, newestEvents, readCards, readVersions, type Card } from './cards.ts'
import { readChanges } from './changes.ts'
import { readOverview } from './overview.ts'
import { readRunVersion, readRunView } from './runView.ts'
import { cardView } from './views/card.ts'
import { textOf } from './views/html.ts'
import { runView } from './views/runPage.ts'
import { summaryView } from './views/summary.ts'
import { endWithSession } from './sessionWatch.ts'
import { ViewerStream } from './viewerStream.ts'

/** Cards on the page. */
export const CARDS_SHOWN = 40
/** Cards that are sent in one go, at most; the newest. */
const CARDS_PER_TICK = 40
/** Events whose runs are looked at again on every tick, because they may move without a ledger entry. */
const FOLLOWED = 100
const OVERVIEW_EVERY_MS = 2 * SECOND
/** A stream ends after this time and the browser opens another: its session is checked anew. */
const STREAM_FOR_MS = 15 * MINUTE

export interface FeedOptions {
  readonly database: Queryable
  readonly clock: Clock
  readonly onFault: (error: unknown) => void
  /** Between two looks at the database. Default 500 ms. */
  readonly tickMs?: number
}

/** What one tenant's viewers are shown, from one look at the database for all of them. */
export class Feed {
  readonly #tenant: string
  readonly #options: FeedOptions
  readonly #viewers = new Set<ViewerStream>()
  /** Followed events, oldest first, with the version that was sent last. */
  readonly #followed = new Map<string, string>()
  readonly #runVersions = new Map<string, string>()
  #cursors: { readonly events: string; readonly ledger: string } | undefined
  #overview = ''
  #overviewAt = Number.NEGATIVE_INFINITY
  #cancelTick: (() => void) | undefined
  #ticking = false

  constructor(tenant: string, options: FeedOptions) {
    this.#tenant = tenant
    this.#options = options
  }

  get size(): number {
    return this.#viewers.size
  }

  /**
   * A stream of server-sent events; of one run's page where `run` is given. It ends once `isStillIn` says no.
   */
  open(run: string | undefined, isStillIn?: () => Promise<boolean>): ReadableStream<Uint8Array> {
    const viewer = new ViewerStream(run, () => this.#leave(viewer))
    this.#viewers.add(viewer)
    const cancel = this.#options.clock.after(STREAM_FOR_MS, () => viewer.end())
    viewer.onEnd(cancel)
    if (isStillIn) endWithSession(viewer, { ...this.#options, isStillIn })
    void this.#welcome(viewer)
    return viewer.stream
  }

  end(): void {
    for (const viewer of this.#viewers) viewer.end()
  }

  #leave(viewer: ViewerStream): void {
    this.#viewers.delete(viewer)
    if (this.#viewers.size > 0) return
    this.#cancelTick?.()
    this.#cancelTick = undefined
    this.#cursors = undefined
    this.#followed.clear()
    this.#runVersions.clear()
  }

  /** The state of things first; what happens from the cursor on is sent after it, and may repeat a part of it. */
  async #welcome(viewer: ViewerStream): Promise<void> {
    try {
      if (this.#cursors === undefined) await this.#startFromNow()
      viewer.hold()
      await (viewer.run === undefined ? this.#sendSnapshot([viewer]) : this.#sendRun(viewer.run, true))
      viewer.release()
      this.#schedule()
    } catch (error) {
      this.#options.onFault(error)
      viewer.end() // The browser comes again.
    }
  }

  async #startFromNow(): Promise<void> {
    const now = await cursorOfNow(this.#options.database)
    this.#cursors = { events: now, ledger: now }
  }

  #schedule(): void {
    if (this.#cancelTick !== undefined || this.#ticking || this.#viewers.size === 0) return
    this.#cancelTick = this.#options.clock.after(this.#options.tickMs ?? 500, () => {
      this.#cancelTick = undefined
      this.#ticking = true
      void this.#tick()
        // A database that is away is waited for; the page shows what it had.
        .catch((error: unknown) => this.#options.onFault(error))
        .finally(() => {
          this.#ticking = false
          this.#schedule()
        })
    })
  }

  async #tick(): Promise<void> {
    const cursors = this.#cursors
    if (cursors === undefined) return
    for (const viewer of this.#viewers) viewer.keepAlive()
    const runs = new Set([...this.#viewers].flatMap(({ run }) => (run === undefined ? [] : [run])))
    const watchers = this.#watchers()
    if (watchers.length > 0) await this.#tickCards(cursors, watchers)
    for (const run of runs) await this.#sendRun(run, false)
  }

  async #tickCards(
    cursors: { readonly events: string; readonly ledger: string },
    watchers: readonly ViewerStream[],
  ): Promise<void> {
    const { database } = this.#options
    const changes = await readChanges(database, this.#tenant, cursors)
    if (changes.overflow) {
      // More happens than anybody can read: show where things stand, and go on from there.
      await this.#startFromNow()
      return this.#sendSnapshot(watchers)
    }
    this.#cursors = changes.cursors
    const moved = await this.#movedEvents()
    const ids = [...new Set([...changes.events, ...moved])].sort().slice(-CARDS_PER_TICK)
    const cards = await readCards(database, this.#tenant, ids)
    await this.#follow(cards)
    await this.#sendCards(cards, watchers)
    await this.#sendOverview(watchers)
  }

  #watchers(): readonly ViewerStream[] {
    return [...this.#viewers].filter(({ run }) => run === undefined)
  }

  async #movedEvents(): Promise<readonly string[]> {
    const versions = await readVersions(this.#options.database, this.#tenant, [...this.#followed.keys()])
    return [...versions].filter(([id, version]) => this.#followed.get(id) !== version).map(([id]) => id)
  }

  /** Follows the events of these cards until nothing will happen to them by itself. */
  async #follow(cards: readonly Card[]): Promise<void> {
    for (const card of cards) this.#followed.delete(card.event.id)
    const open = cards.filter((card) => !isSettled(card)).map((card) => card.event.id)
    const versions = await readVersions(this.#options.database, this.#tenant, open)
    for (const id of open.toReversed()) this.#followed.set(id, versions.get(id) ?? '')
    for (const id of this.#followed.keys()) {
      if (this.#followed.size <= FOLLOWED) break
      this.#followed.delete(id)
    }
  }

  async #sendSnapshot(viewers: readonly ViewerStream[]): Promise<void> {
    const { database, clock } = this.#options
    const cards = await readCards(
      database,
      this.#tenant,
      await newestEvents(database, this.#tenant, CARDS_SHOWN),
    )
    await this.#follow(cards)
    const html = await this.#render(cards)
    const overview = await textOf(summaryView(await readOverview(database, this.#tenant, clock.now())))
    for (const viewer of viewers) viewer.send('snapshot', { cards: html, overview }, true)
  }

  async #sendCards(cards: readonly Card[], viewers: readonly ViewerStream[]): Promise<void> {
    if (cards.length === 0) return
    const html = await this.#render(cards)
    // Oldest first, so that the newest comes to stand on top.
    for (const viewer of viewers) viewer.send('cards', { cards: html.toReversed() })
  }

  #render(cards: readonly Card[]): Promise<{ id: string; html: string }[]> {
    const now = this.#options.clock.now()
    return Promise.all(
      cards.map(async (card) => ({ id: card.event.id, html: await textOf(cardView(card, now)) })),
    )
  }

  async #sendOverview(viewers: readonly ViewerStream[]): Promise<void> {
    const { database, clock } = this.#options
    if (clock.monotonic() - this.#overviewAt < OVERVIEW_EVERY_MS) return
    this.#overviewAt = clock.monotonic()
    const overview = await textOf(summaryView(await readOverview(database, this.#tenant, clock.now())))
    if (overview === this.#overview) return
    this.#overview = overview
    for (const viewer of viewers) viewer.send('overview', { overview })
  }

  /** To everybody who looks at this run, if it looks otherwise than before or `always`. */
  async #sendRun(run: string, always: boolean): Promise<void> {
    const { database, clock } = this.#options
    const version = await readRunVersion(database, this.#tenant, run)
    if (!always && this.#runVersions.get(run) === version) return
    const view = await readRunView(database, this.#tenant, run, clock.now())
    if (!view) return
    this.#runVersions.set(run, version)
    const html = await textOf(runView(view))
    for (const viewer of this.#viewers) if (viewer.run === run) viewer.send('run', { html }, always)
  }
}
