/** The page's whole style: no font, image or script comes from elsewhere. Light, dark, narrow and printed. */
export const STYLE = `
:root { color-scheme: light dark; --ink: #1c1f23; --soft: #5b6470; --paper: #fff; --wash: #f4f5f7; --line: #d9dde3;
  --good: #17693a; --good-wash: #e4f4ea; --bad: #a3201d; --bad-wash: #fbe7e6; --mark: #2b5fb8; --down: #e9b9b7; }
@media (prefers-color-scheme: dark) { :root { --ink: #e7e9ec; --soft: #a3acb8; --paper: #14171a; --wash: #1e2226;
  --line: #363c43; --good: #7fd6a0; --good-wash: #17301f; --bad: #f39a96; --bad-wash: #3a1a19; --mark: #8cb4f5; --down: #6b2f2d; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.55 system-ui, sans-serif; overflow-wrap: anywhere; }
main { max-width: 56rem; margin: 0 auto; padding: 1.5rem 1rem 4rem; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 .3rem; }
h2 { font-size: 1.3rem; margin: 2.4rem 0 .5rem; border-bottom: 1px solid var(--line); padding-bottom: .2rem; }
h3 { font-size: 1.08rem; margin: 1.6rem 0 .3rem; }
h4 { font-size: 1rem; margin: 1rem 0 .2rem; }
p, ul, table { margin: .4rem 0 .8rem; }
ul { padding-left: 1.2rem; } li { margin: .25rem 0; }
a { color: var(--mark); }
.soft { color: var(--soft); font-size: .92rem; }
.verdict { border-radius: .5rem; padding: .9rem 1rem; margin: 1rem 0; }
.verdict strong { font-size: 1.25rem; display: block; }
.yes { background: var(--good-wash); color: var(--good); } .no { background: var(--bad-wash); color: var(--bad); }
.mark { font-weight: 600; } .mark.yes, .mark.no { border-radius: .25rem; padding: 0 .4rem; }
table { border-collapse: collapse; width: 100%; font-size: .93rem; }
th, td { text-align: left; vertical-align: top; padding: .3rem .5rem .3rem 0; border-bottom: 1px solid var(--line); }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; }
td.n { white-space: nowrap; } th.n { max-width: 7rem; overflow-wrap: normal; }
.wide { overflow-x: auto; } .wide table { min-width: 44rem; }
details { border: 1px solid var(--line); border-radius: .4rem; padding: .4rem .8rem; margin: .5rem 0; }
summary { cursor: pointer; font-weight: 600; }
pre { background: var(--wash); padding: .7rem; border-radius: .3rem; font: 12px/1.5 ui-monospace, monospace; overflow-x: auto; white-space: pre; max-height: 28rem; }
svg { display: block; width: 100%; height: auto; margin: .6rem 0; }
svg text { font: 11px system-ui, sans-serif; fill: var(--soft); }
.figures { display: grid; grid-template-columns: repeat(4, 1fr); gap: .5rem; margin: .6rem 0; }
.figures div { background: var(--wash); border-radius: .3rem; padding: .4rem .6rem; }
@media (max-width: 40rem) { .figures { grid-template-columns: repeat(2, 1fr); } }
code { font: .92em ui-monospace, monospace; background: var(--wash); border-radius: .2rem; padding: 0 .25rem; }
.figures b { display: block; font-size: 1.15rem; font-variant-numeric: tabular-nums; }
@media print { :root { color-scheme: light; --ink: #000; --soft: #444; --paper: #fff; } body { font-size: 10.5pt; }
  main { max-width: none; padding: 0; } pre { max-height: none; white-space: pre-wrap; font-size: 7pt; }
  details::details-content { content-visibility: visible; block-size: auto; } details, .wide { overflow: visible; } .wide table { min-width: 0; }
  .figures div, .verdict, tr, li, svg { break-inside: avoid; } h2, h3, h4, summary { break-after: avoid; } a { color: inherit; } }
@page { margin: 16mm; }
`
