"""Style sheet of the report page for light, dark and print. No font or image is fetched."""

from __future__ import annotations

from typing import Final

_LIGHT_COLORS: Final = """
  --paper:#fdfdfb; --card:#ffffff; --ink:#1d2428; --soft:#5b666d; --line:#d9dedf; --faint:#eef1f0;
  --accent:#0f6e5c; --bad:#b3261e; --warn:#8a5a00; --good:#1c6b3f;
  --s-available:#dfe9e2; --s-occupied:#b6cde4; --s-suspended:#9fd0c4; --s-charging:#0f7d68;
  --s-reserved:#d8cde8;
  --s-offline:#f1cf86; --s-out_of_service:#c9cdd3; --s-not_running:#5d666e; --s-faulted:#cf3b2f;
  --s-blank:#f3f4f3; --pattern:rgba(20,30,35,.45); --pattern-light:rgba(255,255,255,.55);
  --power:#0f7d68; --power-fill:rgba(15,125,104,.20); --soc:#7a3fb0; --limit:#1f57a4;
  --up:#7fa98f; --down:#d1791f;
"""
_DARK_COLORS: Final = """
  --paper:#14181b; --card:#1b2125; --ink:#e4e9ea; --soft:#98a5ab; --line:#333c42; --faint:#232a2f;
  --accent:#5fd0b5; --bad:#ff8a7d; --warn:#f0bd5e; --good:#79d29b;
  --s-available:#2b3a33; --s-occupied:#35587c; --s-suspended:#2c6f63; --s-charging:#35b598;
  --s-reserved:#554575;
  --s-offline:#a97a1f; --s-out_of_service:#59626b; --s-not_running:#8b959c; --s-faulted:#d9544a;
  --s-blank:#1d2327; --pattern:rgba(0,0,0,.45); --pattern-light:rgba(0,0,0,.5);
  --power:#5fd0b5; --power-fill:rgba(95,208,181,.22); --soc:#c79bf0; --limit:#8fc0ff;
  --up:#4d7a61; --down:#f0a04b;
"""

STYLE_SHEET: Final = (
    ":root{color-scheme:light dark;" + _LIGHT_COLORS + "}"
    "@media (prefers-color-scheme:dark){:root{" + _DARK_COLORS + "}}"
    "@media print{:root{color-scheme:light;" + _LIGHT_COLORS + "--paper:#fff}}"
    """
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%}
body{margin:0;background:var(--paper);color:var(--ink);
  font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif;
  font-variant-numeric:tabular-nums}
main{max-width:1200px;margin:0 auto;padding:36px 32px 64px}
header{border-bottom:2px solid var(--ink);padding-bottom:18px;margin-bottom:22px}
.kicker{margin:0;color:var(--soft);font-size:12px;letter-spacing:.09em;text-transform:uppercase}
h1{margin:2px 0 6px;font-size:32px;line-height:1.15;font-weight:650;letter-spacing:-.01em}
.range{margin:0;font-size:17px}
.range .to{color:var(--soft);padding:0 .35em}
.meta{margin:8px 0 0;color:var(--soft);font-size:13px}
h2{margin:46px 0 4px;font-size:21px;font-weight:650;letter-spacing:-.005em}
h3{margin:26px 0 6px;font-size:15px;font-weight:650}
p.lead{margin:0 0 12px;color:var(--soft);max-width:78ch}
nav{font-size:13px;margin:0 0 20px}
nav a{margin-right:16px;display:inline-block}
a{color:var(--accent);text-decoration-thickness:1px;text-underline-offset:3px}
.notice{border-left:4px solid var(--warn);background:var(--faint);padding:9px 14px;margin:10px 0;
  max-width:90ch}
.notice b{color:var(--warn)}
.figures{display:grid;grid-template-columns:repeat(auto-fit,minmax(176px,1fr));gap:12px;
  margin:0;padding:0;list-style:none}
.figures li{background:var(--card);border:1px solid var(--line);border-radius:8px;
  padding:12px 14px}
.figures .name{display:block;color:var(--soft);font-size:12.5px}
.figures .value{display:block;font-size:20px;line-height:1.25;font-weight:620;
  letter-spacing:-.01em}
.figures .note{display:block;color:var(--soft);font-size:12.5px}
.bad .value{color:var(--bad)}
.scroll{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-size:13.5px;margin:6px 0 4px}
caption{text-align:left;color:var(--soft);font-size:13px;padding:0 0 6px}
th,td{padding:5px 11px 5px 0;text-align:left;vertical-align:top;
  border-bottom:1px solid var(--line)}
thead th{font-weight:600;font-size:.93em;color:var(--soft);border-bottom:1.5px solid var(--soft);
  vertical-align:bottom}
tbody tr:hover{background:var(--faint)}
tfoot td,tfoot th{font-weight:620;border-bottom:0;border-top:1.5px solid var(--soft)}
.n{text-align:right;white-space:nowrap}
th.n{white-space:normal}
.w{white-space:nowrap}
td:last-child,th:last-child{padding-right:0}
.none{color:var(--soft)}
.seq{font:.92em ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;
  color:var(--soft)}
code{font:.92em ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace}
abbr{text-decoration:none}
.tag{display:inline-block;border:1px solid currentColor;border-radius:3px;font-size:.86em;
  line-height:1.35;padding:0 5px;white-space:nowrap}
.tag.counted,.tag.blocks{color:var(--bad)}
.tag.claimable{color:var(--warn)}
.tag.excluded,.tag.allows{color:var(--good)}
.formula{font-size:14px;background:var(--faint);border-radius:6px;padding:10px 14px;margin:8px 0;
  overflow-x:auto;white-space:nowrap}
ul.how{padding-left:20px;max-width:90ch}
ul.how li{margin:5px 0}
details{margin:10px 0}
summary{cursor:pointer;color:var(--accent)}
details.why{display:inline-block;margin:0;text-align:left;white-space:normal}
.why summary{display:inline;list-style:none;color:var(--accent);text-decoration:underline dotted}
.why summary::-webkit-details-marker{display:none}
.why>div{position:absolute;z-index:1;width:min(880px,calc(100vw - 64px));margin-top:4px;
  right:max(32px,calc((100vw - 1136px)/2));padding:10px 14px;background:var(--card);
  border:1px solid var(--soft);border-radius:6px;font-size:13px}
.why p{margin:4px 0} .why h4{margin:8px 0 2px;font-size:12px;color:var(--soft)}
.why pre{margin:0;white-space:pre-wrap;overflow-wrap:anywhere;
  font:12px/1.45 ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace}
footer{margin-top:52px;padding-top:12px;border-top:1px solid var(--line);color:var(--soft);
  font-size:13px}
.hidden{position:absolute}
.timeline{overflow-x:auto;margin-top:6px}
.timeline svg{display:block;width:100%;min-width:860px;height:auto}
.legend{display:flex;flex-wrap:wrap;gap:5px 18px;list-style:none;margin:8px 0 4px;padding:0;
  font-size:12.5px;color:var(--soft)}
.legend li{display:flex;align-items:center;gap:6px}
svg text{font-family:inherit;fill:var(--soft);font-size:10.5px}
svg .rowname{font-size:12.5px;font-weight:600;fill:var(--ink)}
svg .end{text-anchor:end}
svg .tick{text-anchor:middle;font-size:10.5px}
svg .t{text-anchor:middle;font-size:11px;fill:var(--ink);pointer-events:none;
  paint-order:stroke;stroke:var(--halo,transparent);stroke-width:3px;stroke-linejoin:round}
svg .t-charging{fill:#fff}
svg .t-not_running,svg .t-faulted{fill:#fff;font-weight:650;--halo:rgba(0,0,0,.55)}
svg .t-offline,svg .t-out_of_service,svg .t-suspended{--halo:rgba(255,255,255,.6)}
.grid{stroke:var(--line);stroke-width:.7;fill:none}
.base{stroke:var(--soft);stroke-width:.8;fill:none}
.outside{fill:url(#p-blank)}
.ink{stroke:var(--pattern);stroke-width:1;fill:none}
#p-not_running .ink,#p-faulted .ink{stroke:var(--pattern-light)}
#p-blank .ink{stroke:var(--line)}
.dot{fill:var(--pattern)}
.c-blank{fill:var(--s-blank)}
.c-suspended{fill:var(--s-suspended)} .c-offline{fill:var(--s-offline)}
.c-out_of_service{fill:var(--s-out_of_service)}
.c-not_running{fill:var(--s-not_running)} .c-faulted{fill:var(--s-faulted)}
.b-available{fill:var(--s-available)} .b-occupied{fill:var(--s-occupied)}
.b-reserved{fill:var(--s-reserved)}
.b-charging{fill:var(--s-charging)} .b-suspended{fill:url(#p-suspended)}
.b-offline{fill:url(#p-offline)} .b-out_of_service{fill:url(#p-out_of_service)}
.b-not_running{fill:url(#p-not_running)}
.b-faulted{fill:url(#p-faulted)}
.l-up{fill:var(--up)} .l-down{fill:var(--down)}
.power{fill:var(--power-fill);stroke:var(--power);stroke-width:1;stroke-linejoin:round}
.soc{fill:none;stroke:var(--soc);stroke-width:1.6;stroke-linejoin:round}
.limit{fill:none;stroke:var(--limit);stroke-width:1.8;stroke-dasharray:5 2}
.m-fault{fill:var(--bad)} .m-other_fault{fill:none;stroke:var(--bad);stroke-width:1.3}
.m-clock{fill:none;stroke:var(--soc);stroke-width:1.6} .m-start{fill:var(--ink)}
@media (prefers-color-scheme:dark){
  svg .t-charging{fill:#08241d}
  svg .t-offline,svg .t-out_of_service,svg .t-suspended{--halo:rgba(0,0,0,.5)}
}
.swipe{display:none;margin:4px 0 0;color:var(--soft);font-size:12.5px}
@media screen and (max-width:920px){.swipe{display:block}}
@media screen and (max-width:700px){main{padding:20px 14px 40px} h1{font-size:26px}
  .stacked table,.stacked caption,.stacked tbody,.stacked tfoot,.stacked tr,.stacked td{
    display:block} .stacked td:empty{display:none}
  .stacked thead{display:none} .stacked tr{border-bottom:1px solid var(--line);padding:7px 0}
  .stacked td{border:0;padding:1px 0;text-align:left;white-space:normal}
  details.why[open]{display:block} .why>div{position:static;width:auto;padding:8px 10px}
  .stacked td[data-title]::before{content:attr(data-title) ": ";color:var(--soft)}}
@page{size:A4 landscape;margin:13mm}
@media print{
  body{font-size:10.5px} main{max-width:none;padding:0} nav{display:none}
  *{-webkit-print-color-adjust:exact;print-color-adjust:exact}
  h2{margin-top:26px;break-after:avoid} h3,caption,thead{break-after:avoid}
  tr,svg.row,.figures li{break-inside:avoid}
  .figures{grid-template-columns:repeat(6,1fr);gap:8px} .figures .value{font-size:15px}
  .figures li{padding:8px 10px} .figures .name,.figures .note,.legend{font-size:9.5px}
  h1{font-size:24px} h2{font-size:16px} h3{font-size:12px} .range{font-size:13px}
  table{font-size:10px} .timeline,.scroll{overflow:visible} .timeline svg{min-width:0}
  tbody tr:hover{background:none}
  svg .t-charging{fill:#fff}
}
"""
)
