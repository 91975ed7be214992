"use strict";
// Errors are left where a test, or a curious reader, can find them.
const fail = (error) => { document.body.dataset.error = String(error && (error.message || error)); };
window.addEventListener("error", (event) => fail(event.error || event.message));
window.addEventListener("unhandledrejection", (event) => fail(event.reason));

const data = JSON.parse(document.getElementById("data").textContent);
const BUCKETS = 500;      // candles drawn at once
const TRADES_DRAWN = 1500;
const dark = window.matchMedia("(prefers-color-scheme: dark)");
const byId = (id) => document.getElementById(id);

async function unpack(text) {
  const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Int32Array(await new Response(stream).arrayBuffer());
}

function colours() {
  const style = getComputedStyle(document.documentElement);
  const of = (name) => style.getPropertyValue("--" + name).trim();
  return { ink: of("ink"), muted: of("muted"), line: of("line"), accent: of("accent"), gain: of("gain"), loss: of("loss"), band: of("band") };
}

function layout(extra) {
  const c = colours();
  const axis = { gridcolor: c.line, linecolor: c.line, zerolinecolor: c.line, automargin: true };
  return Object.assign({
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    font: { color: c.muted, size: 12, family: "system-ui, sans-serif" },
    margin: { l: 10, r: 10, t: 16, b: 10 }, showlegend: false, hovermode: "x unified",
    hoverlabel: { font: { size: 12 } },
    legend: { orientation: "h", y: 1.08, x: 0 },
    xaxis: Object.assign({}, axis), yaxis: Object.assign({}, axis),
  }, extra);
}
const CONFIG = { responsive: true, displaylogo: false, displayModeBar: false };
const date = (ms) => new Date(ms).toISOString().replace("Z", "");
let isLog = false;

function drawCurves() {
  const c = colours();
  const time = data.curve.time.map(date);
  Plotly.react("equity", [
    { x: time, y: data.curve.benchmark, name: "buy and hold", mode: "lines", line: { color: c.band, width: 1.2, dash: "dot" } },
    { x: time, y: data.curve.equity, name: "strategy", mode: "lines", line: { color: c.accent, width: 1.8 } },
  ], withAxes(layout({ showlegend: true }), { yaxis: { type: isLog ? "log" : "linear", tickformat: "~s" } }), CONFIG);
  Plotly.react("drawdown", [
    { x: data.drawdown.time.map(date), y: data.drawdown.value, name: "drawdown", fill: "tozeroy", mode: "lines", line: { color: c.loss, width: 1 } },
  ], withAxes(layout({}), { yaxis: { tickformat: ".0%" } }), CONFIG);
}

function withAxes(base, axes) {
  for (const [name, settings] of Object.entries(axes)) Object.assign(base[name], settings);
  return base;
}

function drawSums() {
  const c = colours();
  const { count, edge } = data.histogram;
  const middle = count.map((_, i) => (i === 0 ? edge[1] : i === count.length - 1 ? edge[i] : (edge[i] + edge[i + 1]) / 2));
  const hover = count.map((n, i) => `${edge[i].toFixed(2)} to ${edge[i + 1].toFixed(2)}: ${n} trades`);
  Plotly.react("histogram", [{
    type: "bar", x: middle, y: count, text: hover, hovertemplate: "%{text}<extra></extra>", textposition: "none",
    marker: { color: middle.map((x) => (x > 0 ? c.gain : c.loss)) },
  }], withAxes(layout({ bargap: 0.05, hovermode: "closest" }), { xaxis: { title: { text: "net profit of a trade" } }, yaxis: { title: { text: "trades" } } }), CONFIG);
  const k = data.costs;
  const paid = [["spread, slippage, impact", k.slippage_cost], ["fees", k.fees], ["funding", k.funding_cost], ["borrow", k.borrow_cost]]
    .filter(([name, value]) => name === "fees" || name.startsWith("spread") || value !== 0);
  Plotly.react("costs", [{
    type: "waterfall", x: ["before costs", ...paid.map(([name]) => name), "left"],
    measure: ["absolute", ...paid.map(() => "relative"), "total"], y: [k.gross_pnl, ...paid.map(([, v]) => -v), 0],
    text: [k.gross_pnl, ...paid.map(([, v]) => -v), k.net_pnl].map((v) => v.toLocaleString("en", { maximumFractionDigits: 0 })),
    textposition: "auto", cliponaxis: false, connector: { line: { color: c.line } },
    increasing: { marker: { color: c.gain } }, decreasing: { marker: { color: c.loss } }, totals: { marker: { color: c.accent } },
  }], withAxes(layout({ hovermode: "closest" }), { yaxis: { tickformat: "~s" } }), CONFIG);
}

const price = {};
const trades = {};
let shownTrade = -1;

async function load() {
  const p = data.price, unit = p.unit;
  const [slot, close, open, high, low] = await Promise.all([p.slot, p.close, p.open, p.high, p.low].map(unpack));
  const n = close.length;
  price.n = n;
  for (const name of ["time", "open", "high", "low", "close"]) price[name] = new Float64Array(n);
  let at = 0, last = 0;
  for (let i = 0; i < n; i++) {
    at += slot[i];
    const o = i === 0 ? close[0] : last + open[i];
    last += close[i];
    const first = i === 0 ? last : o;
    price.time[i] = data.start_ms + at * data.interval_ms;
    price.close[i] = last / unit;
    price.open[i] = first / unit;
    price.high[i] = (Math.max(first, last) + high[i]) / unit;
    price.low[i] = (Math.min(first, last) - low[i]) / unit;
  }
  const t = data.trades;
  const names = ["entry", "exit", "side", "reason", "entry_price", "exit_price", "stop", "target", "pnl"];
  const arrays = await Promise.all(names.map((name) => unpack(t[name])));
  names.forEach((name, i) => { trades[name] = arrays[i]; });
  trades.n = trades.entry.length;
}

// First position whose value is not below x, in a sorted array.
function lowerBound(array, x) {
  let low = 0, high = array.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (array[middle] < x) low = middle + 1; else high = middle;
  }
  return low;
}

function candles(first, end) {
  const per = Math.max(1, Math.ceil((end - first) / BUCKETS));
  const out = { x: [], open: [], high: [], low: [], close: [] };
  for (let a = first; a < end; a += per) {
    const b = Math.min(a + per, end);
    let high = -Infinity, low = Infinity;
    for (let i = a; i < b; i++) { if (price.high[i] > high) high = price.high[i]; if (price.low[i] < low) low = price.low[i]; }
    out.x.push(date(price.time[a])); out.open.push(price.open[a]); out.close.push(price.close[b - 1]);
    out.high.push(high); out.low.push(low);
  }
  return { per, out };
}

function tradeTraces(first, end) {
  const c = colours(), unit = data.price.unit;
  const seen = [];
  for (let i = lowerBound(trades.exit, first); i < trades.n && trades.entry[i] < end; i++) seen.push(i);
  if (seen.length === 0 || seen.length > TRADES_DRAWN) return { seen: seen.length, traces: [] };
  const about = (i) => `#${i + 1} ${trades.side[i] > 0 ? "long" : "short"} ${(trades.pnl[i] / 100).toFixed(2)} ${data.trades.reasons[trades.reason[i]]}`;
  const marks = (when, at, symbol, colour, size) => ({
    type: "scatter", mode: "markers", hovertemplate: "%{text}<extra></extra>",
    x: seen.map((i) => date(price.time[trades[when][i]])), y: seen.map((i) => trades[at][i] / unit), text: seen.map(about),
    marker: { symbol: seen.map(symbol), color: seen.map(colour), size, line: { width: 1, color: c.ink } },
  });
  const result = (i) => (trades.pnl[i] > 0 ? c.gain : c.loss);
  const path = { x: [], y: [] }, levels = { x: [], y: [] };
  for (const i of seen) {
    const a = date(price.time[trades.entry[i]]), b = date(price.time[trades.exit[i]]);
    path.x.push(a, b, null); path.y.push(trades.entry_price[i] / unit, trades.exit_price[i] / unit, null);
    for (const name of ["stop", "target"]) {
      if (trades[name][i] > 0) { levels.x.push(a, b, null); levels.y.push(trades[name][i] / unit, trades[name][i] / unit, null); }
    }
  }
  return { seen: seen.length, traces: [
    { type: "scatter", mode: "lines", x: levels.x, y: levels.y, line: { color: c.muted, width: 1, dash: "dot" }, hoverinfo: "skip" },
    { type: "scatter", mode: "lines", x: path.x, y: path.y, line: { color: c.ink, width: 1 }, hoverinfo: "skip" },
    marks("entry", "entry_price", (i) => (trades.side[i] > 0 ? "triangle-up" : "triangle-down"), () => c.accent, 10),
    marks("exit", "exit_price", () => "circle", result, 8),
  ] };
}

function drawPrice(from, to) {
  const c = colours();
  const first = Math.max(0, lowerBound(price.time, from) - 1);
  const end = Math.min(price.n, lowerBound(price.time, to) + 1);
  const { per, out } = candles(first, end);
  const { seen, traces } = tradeTraces(first, end);
  let low = Infinity, high = -Infinity;
  for (let i = 0; i < out.low.length; i++) { low = Math.min(low, out.low[i]); high = Math.max(high, out.high[i]); }
  const pad = (high - low) * 0.04 || 1;
  Plotly.react("price", [Object.assign({ type: "candlestick", name: "price", increasing: { line: { color: c.gain, width: 1 } }, decreasing: { line: { color: c.loss, width: 1 } }, hoverinfo: "x+y" }, out), ...traces],
    withAxes(layout({ hovermode: "closest", dragmode: "zoom" }), {
      xaxis: { type: "date", range: [date(from), date(to)], rangeslider: { visible: false } },
      yaxis: { range: [low - pad, high + pad], fixedrange: true },
    }), CONFIG);
  const bars = per === 1 ? "every bar" : `${per} bars a candle`;
  const drawn = seen > TRADES_DRAWN ? `${seen.toLocaleString("en")} trades in view: zoom in to see them` : `${seen} trades in view`;
  byId("window").textContent = `${date(from).slice(0, 16).replace("T", " ")} to ${date(to).slice(0, 16).replace("T", " ")} UTC · ${bars} · ${drawn}`;
}

const wholeRange = () => [price.time[0], price.time[price.n - 1] + data.interval_ms];
let range = null;

function show(from, to) {
  const [start, stop] = wholeRange();
  range = [Math.max(start, from), Math.min(stop, to)];
  drawPrice(range[0], range[1]);
}

function step(by) {
  if (!trades.n) return;
  shownTrade = Math.min(trades.n - 1, Math.max(0, shownTrade + by));
  const entry = price.time[trades.entry[shownTrade]], exit = price.time[trades.exit[shownTrade]];
  const around = Math.max(30 * data.interval_ms, exit - entry);
  show(entry - around, exit + around);
}

async function main() {
  drawCurves();
  drawSums();
  await load();
  const [start, stop] = wholeRange();
  show(start, stop);
  byId("price").on("plotly_relayout", (change) => {
    if (change["xaxis.autorange"]) show(start, stop);
    else if (change["xaxis.range[0]"] !== undefined) {
      const read = (text) => Date.parse(String(text).replace(" ", "T") + "Z");
      const [from, to] = [read(change["xaxis.range[0]"]), read(change["xaxis.range[1]"])];
      if (from !== range[0] || to !== range[1]) show(from, to);
    }
  });
  document.querySelectorAll("button[data-span]").forEach((button) => button.addEventListener("click", () => {
    const span = Number(button.dataset.span);
    if (!span) { show(start, stop); return; }
    const middle = (range[0] + range[1]) / 2;
    const from = Math.min(Math.max(start, middle - span / 2), Math.max(start, stop - span));
    show(from, from + span);
  }));
  byId("next").addEventListener("click", () => step(1));
  byId("previous").addEventListener("click", () => step(-1));
  byId("log").addEventListener("click", (event) => {
    isLog = !isLog;
    event.target.setAttribute("aria-pressed", String(isLog));
    drawCurves();
  });
  dark.addEventListener("change", () => { drawCurves(); drawSums(); drawPrice(range[0], range[1]); });
  document.body.dataset.ready = "true";
}
main().catch(fail);
