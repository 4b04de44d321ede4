import { createHash } from 'node:crypto'

const COLORS = `
:root {
  --ground: #f6f6f4; --card: #ffffff; --ink: #1d1f23; --soft: #666b74; --line: #e3e3df; --link: #1f4e8c;
  --good: #2c7a4b; --going: #2b6cb0; --waiting: #9a6a00; --person: #b4470e; --bad: #b3261e; --over: #7a7f87;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ground: #15171a; --card: #1d2024; --ink: #e6e7e9; --soft: #9aa0a9; --line: #2d3137; --link: #8ab4f0;
    --good: #6cc08b; --going: #7fb2ec; --waiting: #d9ae55; --person: #ef9a63; --bad: #f0847c; --over: #8b919a;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--ground); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif;
  overflow-wrap: anywhere;
}
a { color: var(--link); text-decoration: none; }
a:hover { text-decoration: underline; }
code { font: 0.92em ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
button, input { font: inherit; color: inherit; }
:focus-visible { outline: 2px solid var(--link); outline-offset: 2px; }
`

export const SIGN_IN_STYLE = `${COLORS}
main { max-width: 380px; margin: 14vh auto 0; padding: 0 20px; }
h1 { font-size: 26px; font-weight: 650; letter-spacing: -0.01em; margin: 0 0 8px; }
form { display: grid; gap: 8px; margin: 20px 0; }
label { font-size: 13px; color: var(--soft); }
input { padding: 9px 11px; border: 1px solid var(--line); border-radius: 8px; background: var(--card); }
button { padding: 9px 14px; border: 0; border-radius: 8px; background: var(--link); color: var(--ground); cursor: pointer; }
[role=alert] { border-left: 3px solid var(--person); padding-left: 10px; }
.hint { color: var(--soft); font-size: 13px; }
`

/** Allows the page to sign in its style, and no other. */
export const SIGN_IN_STYLE_HASH = `sha256-${createHash('sha256').update(SIGN_IN_STYLE).digest('base64')}`

export const LIVE_STYLE = `${COLORS}
.top {
  display: flex; align-items: center; gap: 14px; max-width: 860px; margin: 0 auto; padding: 18px 20px 10px;
}
.top .name { font-size: 19px; font-weight: 650; letter-spacing: -0.01em; color: var(--ink); }
.top form { margin-left: auto; }
.plain { border: 0; background: none; padding: 4px; color: var(--soft); font-size: 13px; cursor: pointer; }
.plain:hover { text-decoration: underline; }
.status { font-size: 13px; color: var(--soft); }
.status::before {
  content: ""; display: inline-block; width: 8px; height: 8px; margin-right: 6px; border-radius: 50%; background: var(--over);
}
.status:empty::before { display: none; }
.status[data-state=live]::before { background: var(--good); }
.status[data-state=reconnecting]::before { background: var(--waiting); }
main { max-width: 860px; margin: 0 auto; padding: 6px 20px 60px; }

.figures { display: flex; flex-wrap: wrap; gap: 8px 36px; margin: 4px 0 14px; }
.figures dt { font-size: 13px; color: var(--soft); }
.figures dd { margin: 0; font-size: 24px; font-weight: 600; font-variant-numeric: tabular-nums; line-height: 1.2; }
.people { margin: 0 0 16px; padding: 10px 14px; border: 1px solid var(--line); border-left: 3px solid var(--person); border-radius: 8px; background: var(--card); }
.people ul { list-style: none; margin: 0; padding: 0; display: grid; gap: 6px; }
.people .why { display: -webkit-box; -webkit-box-orient: vertical; -webkit-line-clamp: 2; overflow: hidden; }

.card { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 13px 16px; margin: 0 0 10px; }
.card h2 { font-size: 16px; font-weight: 600; margin: 0; line-height: 1.35; }
.meta, .facts, .quiet { color: var(--soft); font-size: 13px; }
.meta { margin: 1px 0 0; }
.quiet { margin: 6px 0 0; }
.run { margin: 10px 0 0; padding: 0 0 0 12px; border-left: 2px solid var(--line); }
.run.good { border-color: var(--good); } .run.going { border-color: var(--going); } .run.waiting { border-color: var(--waiting); }
.run.person { border-color: var(--person); } .run.bad { border-color: var(--bad); }
.run h3 { display: flex; flex-wrap: wrap; align-items: baseline; gap: 2px 9px; font-size: 14px; font-weight: 500; margin: 0; }
.run > .why { margin: 4px 0 0; }
.pill { font-size: 12px; font-weight: 600; white-space: nowrap; color: var(--over); }
.good > .mark, .pill.good { color: var(--good); }
.going > .mark, .pill.going { color: var(--going); }
.waiting > .mark, .pill.waiting { color: var(--waiting); }
.person > .mark, .pill.person { color: var(--person); }
.bad > .mark, .pill.bad { color: var(--bad); }
.over > .mark { color: var(--over); }
.why { color: var(--soft); font-size: 13px; }
.bad .why { color: var(--bad); }
.notice { margin: 6px 0 0; font-size: 14px; }
.notice.person { color: var(--person); }
.steps, .bars, .attempts { list-style: none; margin: 0; padding: 0; }
.steps { margin-top: 4px; }
.step { display: grid; grid-template-columns: 18px minmax(0, 1fr) auto; gap: 0 6px; align-items: baseline; font-size: 14px; padding: 1px 0; }
.step .what { max-height: 9em; overflow: hidden; }
.step .why { display: block; }
.step .facts { white-space: nowrap; }
.mark { font-weight: 700; text-align: center; }
.fresh { animation: come 0.5s ease-out; }
@keyframes come { from { opacity: 0; transform: translateY(-6px); } }
@media (prefers-reduced-motion: reduce) { .fresh { animation: none; } }

.timeline h1 { display: flex; flex-wrap: wrap; align-items: baseline; gap: 4px 12px; font-size: 24px; font-weight: 650; letter-spacing: -0.01em; margin: 10px 0 2px; }
.timeline h1 .pill { font-size: 14px; }
.lead { margin: 0 0 14px; max-width: 66ch; }
.facts-list { display: grid; grid-template-columns: repeat(auto-fill, minmax(235px, 1fr)); gap: 10px 24px; margin: 0 0 22px; padding: 14px 16px; background: var(--card); border: 1px solid var(--line); border-radius: 10px; }
.facts-list dt { font-size: 12px; color: var(--soft); }
.facts-list dd { margin: 0; }
.bars > li { padding: 11px 0; border-top: 1px solid var(--line); }
.line { display: grid; grid-template-columns: 18px minmax(0, 1fr) auto; gap: 0 8px; align-items: baseline; }
.line .took { color: var(--soft); font-size: 13px; font-variant-numeric: tabular-nums; white-space: nowrap; }
.good > .line .mark { color: var(--good); } .going > .line .mark { color: var(--going); } .waiting > .line .mark { color: var(--waiting); }
.person > .line .mark { color: var(--person); } .bad > .line .mark { color: var(--bad); } .over > .line .mark { color: var(--over); }
.bar { display: block; width: 100%; height: 10px; margin: 6px 0 3px; }
.bar rect { fill: var(--over); }
.bar .track { fill: var(--line); }
.bar .whole { fill: var(--over); opacity: 0.45; }
.bar .succeeded { fill: var(--good); } .bar .failed { fill: var(--bad); } .bar .in_doubt { fill: var(--waiting); }
.bar .quarantined { fill: var(--person); } .bar .open { fill: var(--going); }
.bars .bar { width: calc(100% - 26px); }
.bars .bar, .bars .facts, .bars .why { margin-left: 26px; }
.bars .facts, .bars .why { margin-top: 0; margin-bottom: 0; }
.facts-list code { font-size: 13px; }
.attempts { margin: 4px 0 0; padding-left: 26px; font-size: 13px; color: var(--soft); }
.attempts .wait { display: block; opacity: 0.8; }

@media (max-width: 560px) {
  .top, main { padding-left: 14px; padding-right: 14px; }
  .figures { gap: 6px 18px; }
  .figures dt { font-size: 12px; }
  .figures dd { font-size: 20px; }
  .card { padding: 12px; }
  .run { padding-left: 10px; }
  .step { grid-template-columns: 16px minmax(0, 1fr); }
  .step .facts { grid-column: 2; white-space: normal; }
  .facts-list { grid-template-columns: 1fr 1fr; }
}
`
