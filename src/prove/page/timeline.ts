import { DAY } from '../../base/index.ts'
import type { DrillReport } from '../report.ts'
import { html, type Html } from './html.ts'
import { countWords } from './words.ts'

const WIDTH = 720
const HEIGHT = 150
const LEFT = 34
const BOTTOM = 22
const TOP = 14

/** An outage over time: how many runs waited, each request in vain, each effect. */
export function timeline({ drill, history }: DrillReport): Html {
  const { outage, connection } = drill
  if (!outage || connection === undefined) return html``
  const end = Math.max(outage.toMs * 1.04, ...history.effects.map(({ atMs }) => atMs))
  const most = Math.max(1, ...history.waiting.map(({ open }) => open))
  const x = (ms: number): number => round(LEFT + (ms / end) * (WIDTH - LEFT - 6))
  const y = (open: number): number => round(HEIGHT - BOTTOM - (open / most) * (HEIGHT - BOTTOM - TOP - 20))
  const floor = HEIGHT - BOTTOM
  const line = history.waiting
    .filter(({ atMs }) => atMs <= end)
    .map(
      ({ atMs, open }, i, all) =>
        `${i === 0 ? 'M' : `H${x(atMs)} V`}${i === 0 ? `${x(atMs)} ${y(open)}` : y(open)}${i === all.length - 1 ? ` H${x(end)}` : ''}`,
    )
    .join(' ')
  const inVain = history.requests.filter((one) => one.connection === connection && one.fault === 'down')
  const effects = history.effects.filter((one) => one.connection === connection && one.run !== undefined)
  const days = Array.from({ length: Math.floor(end / DAY) + 1 }, (_, i) => i * DAY)
  return html`<svg
      viewBox="0 0 ${WIDTH} ${HEIGHT}"
      role="img"
      aria-label="${`Up to ${countWords(most, 'run')} waited; ${inVain.length} requests in vain; ${effects.length} effects`}"
    >
      <rect
        x="${x(outage.fromMs)}"
        y="${TOP}"
        width="${round(x(outage.toMs) - x(outage.fromMs))}"
        height="${floor - TOP}"
        fill="var(--down)"
        opacity=".35"
      />
      <text x="${x(outage.fromMs) + 4}" y="${TOP + 11}">away</text>
      <path d="${line}" fill="none" stroke="var(--ink)" stroke-width="1.5" />
      ${inVain.map(({ atMs }) => html`<path d="M${x(atMs)} ${floor} v-6" stroke="var(--bad)" />`)}
      ${effects.map(({ atMs }) => html`<circle cx="${x(atMs)}" cy="${floor}" r="2.5" fill="var(--good)" />`)}
      <path d="M${LEFT} ${floor} H${WIDTH - 6}" stroke="var(--line)" />
      <text x="2" y="${y(most) + 4}">${most}</text>
      <text x="2" y="${floor}">0</text>
      ${days.map((ms) => html`<text x="${x(ms)}" y="${HEIGHT - 6}">day ${ms / DAY + 1}</text>`)}
    </svg>
    <p class="soft">
      Line: runs that were not over. Red strokes: requests in vain. Green dots: effects at the provider.
    </p>`
}

function round(value: number): number {
  return Math.round(value * 10) / 10
}
