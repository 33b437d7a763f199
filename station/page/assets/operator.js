// Operators' page. The server sends what is true now (`live`) and the entries of the journal
// (`entry`, in order, each once); everything else is asked for when somebody wants to see it.

import { drawCurve } from "/assets/curve.js";
import { follow, get, logIn, logInFromAddress, post } from "/assets/session.js";

const LINES_MAX = 1500; // in the transcript; the oldest are removed
const CURVE_INTERVAL_MS = 2000;
const TRACES_FIRST = 3; // shown before somebody asks for all of them
const CLOCK_TOLERANCE_MS = 10000;
const FAULT_NAMES = [
  "cable over_temperature", "cable sensor_broken", "contactor stuck_open", "contactor welded", "cooling fault",
  "dispenser tilted", "dispenser_door open", "door open", "ev emergency_stop", "insulation low", "io silent",
  "lock stuck", "mains lost", "mains phase_missing", "meter silent", "module all_dead", "module dead",
  "module over_temperature", "output over_current", "output over_voltage", "pilot error", "reader gone", "secc silent",
];
const STATUS_LOOK = { Available: "good", Occupied: "info", Reserved: "wait", Unavailable: "wait", Faulted: "bad" };

const id = (name) => document.getElementById(name);
const state = { live: null, mayOrder: false, journalId: "", lastSeq: null, oldestSeq: null, paused: false, pending: [], curves: new Map(), sessionsDue: 0, tracesDue: 0, outboxKey: "", traces: [], allTraces: false };

// --- Small helpers ------------------------------------------------------------------------------

function make(name, properties = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key === "class") node.className = value;
    else if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else if (key.startsWith("data-") || key.startsWith("aria-") || key === "for" || key === "scope") node.setAttribute(key, value);
    else node[key] = value;
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

// Replaces the content only where it changed, so that focus, selection and screen readers are left alone.
function fill(node, key, ...children) {
  if (node.dataset.key === key) return;
  node.dataset.key = key;
  node.replaceChildren(...children);
}

function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

function duration(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  const parts = [[Math.floor(whole / 86400), "d"], [Math.floor(whole / 3600) % 24, "h"], [Math.floor(whole / 60) % 60, "min"], [whole % 60, "s"]];
  const first = parts.findIndex(([value]) => value);
  return (first < 0 ? parts.slice(3) : parts.slice(first, first + 2)).map(([value, unit]) => `${value} ${unit}`).join(" ");
}

function sizeText(bytes) {
  if (bytes < 1000) return `${bytes} B`;
  return bytes < 1e6 ? `${(bytes / 1000).toFixed(bytes < 10000 ? 1 : 0)} kB` : `${(bytes / 1e6).toFixed(1)} MB`;
}

const kilo = (value, digits = 1) => (value / 1000).toFixed(digits);
const place = (evseId) => (evseId ? `EVSE ${evseId}` : "Station");
const short = (text) => (text.length > 12 ? `${text.slice(0, 8)}…` : text);

let toastTimer = 0;
function toast(text) {
  setText(id("toast"), text);
  id("toast").hidden = false;
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => { id("toast").hidden = true; }, 5000);
}

async function order(path, body, done) {
  try {
    const answer = await post(path, body);
    if (done) toast(typeof done === "function" ? done(answer) : done);
    return answer;
  } catch (error) {
    if (error.status === 401) openLogin();
    else toast(error.message);
    return null;
  }
}

// --- Session ------------------------------------------------------------------------------------

function openLogin() {
  if (!id("login").open) id("login").showModal();
}

id("session-button").addEventListener("click", async () => {
  if (!state.mayOrder) openLogin();
  else if (await order("/logout", {})) stream.restart();
});
id("login-cancel").addEventListener("click", () => id("login").close());
id("login-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const error = await logIn(id("token").value);
  setText(id("login-error"), error);
  if (error) return;
  id("token").value = "";
  id("login").close();
  stream.restart();
});

function showSession() {
  setText(id("session-button"), state.mayOrder ? "Log out" : "Log in");
  document.body.dataset.mayOrder = state.mayOrder;
}

// --- Live ---------------------------------------------------------------------------------------

function onLive(live) {
  state.live = live.station === "running" ? live : null;
  showAlerts(live);
  if (!state.live) {
    fill(id("pills"), "down", make("li", { class: "pill bad" }, "Station does not answer"));
    return;
  }
  document.title = `${live.identity} · charging station`;
  setText(id("identity"), live.identity);
  setText(id("release"), `Release ${live.release} · profile ${live.profile} · running for ${duration(live.running_s)}`);
  showPills(live);
  live.evses.forEach(showEvse);
  showFaults(live.faults);
  showOutbox(live.outbox);
  showStation(live);
  id("hands").hidden = id("hands-link").hidden = !live.emulated;
  if (live.emulated) live.evses.forEach(showHands);
}

function showAlerts(live) {
  const alerts = [];
  const add = (look, text) => alerts.push([look, text]);
  if (live.station !== "running") add("bad", `The station does not answer: ${live.reason ?? "unknown"}. The journal is still shown.`);
  for (const reason of live.safe_mode ?? []) add("wait", `Safe mode: ${reason}`);
  for (const reason of live.damage ?? []) add("bad", `Journal damaged: ${reason}`);
  if (live.failed_rule) add("bad", `Error in the program: ${live.failed_rule}. See the log.`);
  if (live.restart) add("wait", `A restart is ordered (${live.restart}).`);
  if (live.storage && live.storage !== "enough") add("bad", `Disk space: ${live.storage}`);
  fill(id("alerts"), JSON.stringify(alerts), ...alerts.map(([look, text]) => make("p", { class: `alert ${look}` }, text)));
}

function showPills(live) {
  const { link, clock, outbox } = live;
  const pills = [
    link.online ? ["good", `Online, ${link.registration}`] : ["bad", `Offline for ${duration(link.since_s)}`],
    [clock.synchronized ? "good" : "wait", clock.synchronized ? "Clock synchronized" : "Clock not synchronized"],
    [outbox.parked_count ? "bad" : outbox.waiting > 20 ? "wait" : "", `${outbox.waiting} waiting${outbox.parked_count ? `, ${outbox.parked_count} parked` : ""}`],
    ["", `Entry ${live.journal.seq}`],
  ];
  fill(id("pills"), JSON.stringify(pills), ...pills.map(([look, text]) => make("li", { class: `pill ${look}` }, text)));
}

function evseCard(evseId) {
  let card = id(`evse-${evseId}`);
  if (card) return card;
  card = make("article", { id: `evse-${evseId}`, class: "card", "aria-labelledby": `evse-name-${evseId}` },
    make("div", { class: "evse-head" }, make("h3", { id: `evse-name-${evseId}` }, `EVSE ${evseId}`), make("span", { class: "badge" })),
    make("p", { class: "shown" }), make("p", { class: "shown-help muted" }),
    make("p", { class: "power" }), make("dl"), make("div", { class: "curve-box" }),
    make("div", { class: "links" },
      make("button", { class: "link", type: "button", onclick: () => setFilters({ evse: String(evseId) }) }, "Transcript"),
      make("a", { href: `/display/${evseId}`, target: "_blank", rel: "noopener" }, "Display")));
  id("evses").append(card);
  for (const select of [id("filters").elements.evse, id("fault-evse")]) {
    select.append(make("option", { value: String(evseId) }, String(evseId)));
  }
  return card;
}

function showEvse(evse) {
  const card = evseCard(evse.evse_id);
  const find = (selector) => card.querySelector(selector);
  const badge = find(".badge");
  setText(badge, evse.status);
  badge.className = `badge ${STATUS_LOOK[evse.status] ?? ""}`;
  setText(find(".shown"), evse.display?.headline ?? "");
  setText(find(".shown-help"), evse.display?.help ?? "");
  fill(find(".power"), `${evse.power_w}`, evse.power_w === null ? "–" : kilo(evse.power_w), make("small", {}, " kW"));
  const amounts = evse.display?.amounts ?? {};
  const rows = [["Cause", evse.status_cause]];
  if (evse.charging_state !== "Idle") rows.push(["State", evse.charging_state]);
  if (evse.plugged && evse.soc !== null) rows.push(["SoC", `${evse.soc} %`]);
  if (evse.transaction) {
    rows.push(["Session", [amounts.energy_kwh && `${amounts.energy_kwh} kWh`, Number.isFinite(amounts.charging_seconds) && duration(amounts.charging_seconds)].filter(Boolean).join(", ") || "begins"]);
  }
  rows.push(["Cost", evse.display?.cost], ["Tariff", evse.display?.tariff]);
  if (evse.limit_w !== null && (evse.plugged || evse.transaction)) {
    rows.push(["Limit", [`${kilo(evse.limit_w)} kW`, evse.limit_reason, evse.limit_source].filter(Boolean).join(": ")]);
  }
  if (evse.energy_wh !== null) rows.push(["Meter", `${kilo(evse.energy_wh, 3)} kWh`]);
  if (evse.voltage_v) rows.push(["Output", `${Math.round(evse.voltage_v)} V, ${Math.round(evse.current_a ?? 0)} A`]);
  rows.push(["Contactors", evse.contactor]);
  showList(find("dl"), rows);
  const transaction = evse.transaction;
  if (transaction) {
    const button = find(".transaction") ?? find(".links").appendChild(make("button", { class: "link transaction", type: "button" }));
    setText(button, `Transaction ${short(transaction.id)}`);
    button.onclick = () => setFilters({ transaction: transaction.id });
  } else find(".transaction")?.remove();
  showCurve(find(".curve-box"), evse);
}

function showList(list, rows) {
  const shown = rows.filter(([, text]) => text !== null && text !== undefined && text !== "");
  const names = shown.map(([name]) => name).join("|");
  fill(list, names, ...shown.flatMap(([name]) => [make("dt", {}, name), make("dd")]));
  [...list.querySelectorAll("dd")].forEach((node, index) => setText(node, shown[index][1]));
}

async function showCurve(box, evse) {
  const transaction = evse.transaction?.id;
  if (!transaction) {
    fill(box, "none");
    return;
  }
  const known = state.curves.get(evse.evse_id);
  if (known?.transaction === transaction && performance.now() - known.at < CURVE_INTERVAL_MS) return;
  state.curves.set(evse.evse_id, { transaction, at: performance.now() });
  try {
    const points = await get(`/curve/${transaction}`);
    if (points.length < 2) return;
    const last = points.at(-1);
    const title = `Power ${kilo(last[1])} kW${last[2] === null ? "" : `, state of charge ${last[2]} %`}`;
    const legend = make("p", { class: "legend" }, make("span", { class: "power-key" }, "── power, kW"), make("span", { class: "soc-key" }, "╌╌ SoC, %"));
    fill(box, `${transaction}/${last[0]}`, drawCurve(points, title), legend);
  } catch { /* the next one comes in two seconds */ }
}

function showFaults(faults) {
  id("no-faults").hidden = faults.length > 0;
  const traces = faults.map(traceOf);
  const key = JSON.stringify([faults.map(({ age_s, ...rest }) => rest), traces.map((trace) => trace?.seq), state.mayOrder]);
  fill(id("faults"), key, ...faults.map((fault, index) => {
    const details = [fault.tech_code, fault.info].filter(Boolean).join(", ");
    const effect = fault.blocks_charging ? "charging not allowed" : "charging continues";
    const release = fault.latched && make("button", {
      type: "button", disabled: fault.found,
      onclick: () => order("/orders/release", { device: fault.device, kind: fault.fault, evse_id: fault.evse_id },
        (answer) => `Released: ${answer.released.join(", ")}`),
    }, "Release");
    return make("li", {},
      make("span", { class: fault.blocks_charging ? "badge bad" : "badge wait" }, place(fault.evse_id)),
      make("span", { class: "grow" }, `${fault.device} ${fault.fault}${details ? ` (${details})` : ""}: ${effect}`),
      make("span", { class: "muted age" }),
      fault.latched ? make("span", { class: "muted" }, fault.found ? "still present" : "latched: check it, then release it") : null,
      traces[index] ? traceLink(traces[index]) : null,
      release || null);
  }));
  [...id("faults").querySelectorAll(".age")].forEach((node, index) => setText(node, `for ${duration(faults[index].age_s)}`));
}

// --- Bus traces ---------------------------------------------------------------------------------

// The files of a trace never change; they are deleted when a newer one is written, which is an entry.
async function loadTraces() {
  const traces = await get("/traces").catch(() => null);
  if (!traces) return;
  state.traces = traces;
  showTraces();
  if (state.live) showFaults(state.live.faults);
}

function tracesChanged(kind) {
  if (kind !== "BusTraceWritten" || state.tracesDue > performance.now()) return;
  state.tracesDue = performance.now() + 500;
  setTimeout(loadTraces, 500);
}

// The trace of an active fault: of this occurrence, not of an earlier one.
function traceOf(fault) {
  const begin = new Date(state.live.at) - fault.age_s * 1000 - CLOCK_TOLERANCE_MS;
  return state.traces.find((trace) => hasFiles(trace) && trace.faults.some((each) =>
    each.evse_id === fault.evse_id && each.device === fault.device && each.fault === fault.fault && new Date(each.at) >= begin));
}

const hasFiles = (trace) => trace.files.some((file) => file.size_bytes !== null);

function traceLink(trace) {
  return make("a", { href: `/traces/${trace.seq}`, download: "" }, "Bus trace");
}

function fileLink(trace, file) {
  if (file.size_bytes === null) return make("span", { class: "muted" }, `${file.name}: deleted`);
  return make("span", {}, make("a", { href: `/traces/${trace.seq}/${file.name}`, download: "" }, file.name),
    make("span", { class: "muted" }, ` ${sizeText(file.size_bytes)}`));
}

function tracedFault(fault) {
  const text = fault.device ? `${place(fault.evse_id)}: ${fault.device} ${fault.fault}` : `entry ${fault.seq}`;
  return make("button", { class: "link", type: "button", title: `Why: entry ${fault.seq}`, onclick: () => showWhy(fault.seq) }, text);
}

function showTraces() {
  const { traces, allTraces } = state;
  id("no-traces").hidden = traces.length > 0;
  const shown = allTraces ? traces : traces.slice(0, TRACES_FIRST);
  fill(id("traces"), JSON.stringify(shown), ...shown.map((trace) => {
    const faults = trace.faults.flatMap((fault, index) => [index ? ", " : "", tracedFault(fault)]);
    const archive = hasFiles(trace)
      && make("a", { href: `/traces/${trace.seq}`, download: "", "aria-label": `All files of ${trace.directory}` }, "All files (.tar.gz)");
    return make("li", {},
      make("span", {}, `${trace.at.slice(0, 19).replace("T", " ")} UTC`),
      make("span", { class: "grow" }, ...faults),
      make("span", { class: "muted" }, trace.directory),
      make("span", { class: "files" }, archive || null, ...trace.files.map((file) => fileLink(trace, file)),
        trace.unavailable ? make("span", { class: "muted" }, trace.unavailable) : null));
  }));
  id("all-traces").hidden = traces.length <= TRACES_FIRST;
  setText(id("all-traces"), allTraces ? "Show the newest" : `Show all ${traces.length}`);
}

id("all-traces").addEventListener("click", () => {
  state.allTraces = !state.allTraces;
  showTraces();
});

// --- Outbox -------------------------------------------------------------------------------------

async function showOutbox(outbox) {
  const flight = outbox.in_flight ? `; ${outbox.in_flight.action} of entry ${outbox.in_flight.seq} is sent, attempt ${outbox.in_flight.attempt}` : "";
  setText(id("outbox-summary"), `${outbox.waiting} waiting (${outbox.transaction_events} TransactionEvents), ${outbox.parked_count} parked${flight}.`);
  id("retry-all").hidden = outbox.parked_count === 0;
  const key = JSON.stringify([outbox.next_seq, outbox.general_seqs, outbox.parked.map((call) => call.seq)]);
  if (key === state.outboxKey) return;
  state.outboxKey = key;
  if (!outbox.waiting && !outbox.parked_count) {
    fill(id("outbox"), "empty");
    return;
  }
  try {
    const calls = await get("/outbox");
    fill(id("outbox"), JSON.stringify(calls), ...calls.map((call) => make("li", {},
      make("span", {}, call.action),
      make("span", { class: "grow" }, [call.seq_no !== null && `seqNo ${call.seq_no}`, call.transaction_id && `transaction ${short(call.transaction_id)}`, `queued ${call.at.slice(0, 19).replace("T", " ")}`, call.reason].filter(Boolean).join(" · ")),
      make("button", { class: "link", type: "button", onclick: () => showWhy(call.seq) }, `entry ${call.seq}`),
      call.parked ? make("button", { type: "button", onclick: () => order("/orders/retry", { calls: [call.seq] }, "The message is sent again.") }, "Send again") : null)));
  } catch { state.outboxKey = ""; }
}

id("retry-all").addEventListener("click", () => order("/orders/retry", {}, (answer) => `${answer.retried} messages are sent again.`));

// --- Station ------------------------------------------------------------------------------------

function showStation(live) {
  showList(id("clock"), [
    ["Station", live.at.replace("T", " ").slice(0, 19) + " UTC"],
    ["Quality", live.clock.synchronized ? "synchronized with the CSMS" : "not synchronized"],
    ["Offset", `${(live.clock.offset_ms / 1000).toFixed(3)} s to the host's clock`],
  ]);
  const verified = live.journal.verified;
  showList(id("journal"), [
    ["Head", `${live.journal.seq}:${live.journal.digest.slice(0, 16)}…`],
    ["Audit", verified ? `${verified.at.slice(0, 16).replace("T", " ")}: ${verified.ok ? "no damage" : verified.complaints.join("; ")}` : "none since the start"],
    ["Disk", live.storage === "enough" ? "enough space" : live.storage],
  ]);
  showList(id("program"), [
    ["CSMS", live.link.url ?? "not connected"],
    ["Slot", live.link.slot ? `${live.link.slot}, security profile ${live.link.security_profile}` : null],
    ["Commits", `${(live.loop.commit_last_s * 1000).toFixed(1)} ms, at most ${(live.loop.commit_max_s * 1000).toFixed(0)} ms in a minute`],
    ["Loop", `at most ${(live.loop.round_lag_max_s * 1000).toFixed(0)} ms late in a minute`],
  ]);
  const certificates = live.certificates;
  id("no-certificates").hidden = certificates.length > 0;
  fill(id("certificates"), JSON.stringify(certificates), ...certificates.map((each) => {
    const days = Math.floor((new Date(each.not_after) - new Date(live.at)) / 86400000);
    const look = days < 0 ? "bad" : days < 30 ? "wait" : "good";
    const renewal = each.renewal ?? (each.next_renewal && `next renewal ${each.next_renewal.slice(0, 10)}`);
    const renew = each.next_renewal && make("button", { type: "button", onclick: () => order("/orders/renew_certificate", { use: each.use },
      (answer) => (answer.online ? "The renewal is requested." : "The renewal is requested when the station is online.")) }, "Renew now");
    return make("li", {}, make("span", {}, each.use), make("span", { class: "grow" }, each.subject),
      make("span", { class: `pill ${look}` }, days < 0 ? "expired" : `${days} days left`),
      make("span", { class: "muted" }, [`until ${each.not_after.slice(0, 10)}`, renewal].filter(Boolean).join(", ")), renew || null);
  }));
}

id("verify").addEventListener("click", async () => {
  id("verify").disabled = true;
  setText(id("verify-result"), "Reading the whole journal…");
  const result = await order("/verify", {});
  setText(id("verify-result"), result ? (result.ok ? result.text || "No damage." : result.complaints.join("\n")) : "");
  id("verify").disabled = false;
});

function openReport(since, until) {
  const query = new URLSearchParams();
  if (since) query.set("from", since);
  if (until) query.set("to", until);
  window.open(`/report?${query}`, "_blank", "noopener");
}

id("report-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const { from, to } = event.target.elements;
  openReport(from.value, to.value);
});
for (const button of document.querySelectorAll("[data-days]")) {
  button.addEventListener("click", () => {
    const days = Number(button.dataset.days);
    const now = new Date(state.live?.at ?? Date.now());
    openReport(days ? `${new Date(now - days * 86400000).toISOString().slice(0, 19)}Z` : "", "");
  });
}

// --- Sessions -----------------------------------------------------------------------------------

async function loadSessions() {
  const sessions = await get("/sessions").catch(() => null);
  if (!sessions) return;
  id("no-sessions").hidden = sessions.length > 0;
  id("sessions").hidden = sessions.length === 0;
  fill(id("sessions").tBodies[0], JSON.stringify(sessions), ...sessions.map((session) => {
    const seconds = session.ended_at ? (new Date(session.ended_at) - new Date(session.started_at)) / 1000 : null;
    const cell = (text) => make("td", {}, text);
    return make("tr", {},
      cell(session.started_at.slice(0, 19).replace("T", " ")),
      cell(session.evse_id ? String(session.evse_id) : "–"),
      cell(session.energy_wh === null ? "–" : `${kilo(Number(session.energy_wh), 2)} kWh`),
      cell(seconds === null ? "running" : duration(seconds)),
      cell(session.stopped_reason ?? "–"),
      cell(session.ended_seq === null ? "–" : session.delivery),
      make("td", {}, session.id_token ? tokenButton(session.id_token) : "–"),
      make("td", {}, make("button", { class: "link", type: "button", onclick: () => setFilters({ transaction: session.transaction_id }) }, short(session.transaction_id)), " ",
        make("button", { class: "link", type: "button", onclick: () => showWhy(session.transaction_id) }, "why")));
  }));
}

// An idToken is shown as its reference; its value only to who has the token and asks for it.
function tokenButton(reference) {
  const [type, ref] = reference.split("/");
  const button = make("button", { class: "link", type: "button", title: "Show the value" }, reference);
  button.addEventListener("click", async () => {
    const answer = await order("/reveal", { ref });
    if (answer) setText(button, answer.value === null ? "erased" : `${type}/${answer.value}`);
  });
  return button;
}

function sessionsChanged(kind) {
  const now = performance.now();
  const isEdge = ["TransactionStarted", "TransactionStopOrdered", "CallDelivered", "CallParked"].includes(kind);
  if (!isEdge && kind !== "MeterRead") return;
  if (state.sessionsDue > now) return;
  const wait = isEdge ? 300 : 5000;
  state.sessionsDue = now + wait;
  setTimeout(loadSessions, wait);
}

// --- Transcript ---------------------------------------------------------------------------------

const filters = id("filters").elements;
const FILTER_NAMES = ["evse", "source", "direction", "kind", "transaction", "text"];

function currentFilter() {
  return Object.fromEntries(FILTER_NAMES.map((name) => [name, filters[name].value.trim()]));
}

function matches(line, filter) {
  return (!filter.evse || line.evse_ids.includes(Number(filter.evse)) || line.evse_ids.includes(0))
    && (!filter.source || line.source === filter.source)
    && (!filter.direction || line.direction === filter.direction)
    && (!filter.kind || line.kind === filter.kind)
    && (!filter.transaction || line.transaction_ids.some((each) => each.startsWith(filter.transaction)))
    && (!filter.text || line.text.toLowerCase().includes(filter.text.toLowerCase()));
}

function offer(select, value, list) {
  const options = list ? id(list) : select;
  if ([...options.children].some((option) => option.value === value)) return;
  options.append(make("option", { value }, value));
}

function lineItem(line) {
  const time = line.at.slice(11, 23);
  const item = make("li", { class: [line.is_observation ? "observation" : "decision", line.kind === "DeviceFaulted" ? "fault" : ""].join(" "), "data-seq": line.seq, "data-source": line.source, "data-day": line.at.slice(0, 10) },
    make("button", { type: "button", onclick: () => showWhy(line.seq) },
      make("span", { class: "time" }, time), make("span", { class: "seq" }, String(line.seq)),
      make("span", { class: "source" }, line.source), make("span", { class: "said" }, line.text)));
  return item;
}

function isAtEnd() {
  const list = id("transcript");
  return list.scrollHeight - list.scrollTop - list.clientHeight < 40;
}

function appendLines(lines) {
  const list = id("transcript");
  const stay = !isAtEnd();
  const filter = currentFilter();
  for (const line of lines) {
    if (!matches(line, filter)) continue;
    if (list.lastElementChild?.dataset.day !== line.at.slice(0, 10)) list.append(make("li", { class: "day", "data-day": line.at.slice(0, 10) }, `${line.at.slice(0, 10)} UTC`));
    list.append(lineItem(line));
  }
  while (list.children.length > LINES_MAX) {
    list.firstElementChild.remove();
    const first = list.querySelector("[data-seq]");
    if (first) state.oldestSeq = Number(first.dataset.seq);
  }
  if (!stay) list.scrollTop = list.scrollHeight;
}

let frame = 0;
function onEntry(line) {
  if (state.lastSeq !== null && line.seq <= state.lastSeq) return; // never twice
  state.lastSeq = line.seq;
  state.oldestSeq ??= line.seq;
  offer(filters.source, line.source);
  offer(filters.kind, line.kind, "kinds");
  sessionsChanged(line.kind);
  tracesChanged(line.kind);
  state.pending.push(line);
  if (state.pending.length > LINES_MAX) state.pending.shift();
  if (!state.paused && !frame) {
    frame = requestAnimationFrame(flush);
    if (document.hidden) { cancelAnimationFrame(frame); flush(); }
  }
}

function flush() {
  frame = 0;
  appendLines(state.pending);
  state.pending = [];
}

function onHello(hello) {
  state.mayOrder = hello.may_order;
  showSession();
  if (state.journalId && state.journalId !== hello.journal_id) {
    state.lastSeq = null; // another journal: begin again
    state.journalId = hello.journal_id;
    clearTranscript();
    stream.restart();
    return;
  }
  if (state.journalId && !hello.continues && state.lastSeq !== null) {
    state.pending = [];
    id("transcript").append(make("li", { class: "gap" }, `Entries after ${state.lastSeq} are not shown here; "Show older entries" reads them.`));
    state.lastSeq = null;
  }
  state.journalId = hello.journal_id;
  loadSessions();
  loadTraces();
}

function clearTranscript() {
  id("transcript").replaceChildren();
  state.pending = [];
  state.oldestSeq = null;
}

async function search(before) {
  const filter = currentFilter();
  const query = new URLSearchParams({ count: "150" });
  if (before) query.set("before", String(before));
  for (const [name, value] of Object.entries(filter)) if (value) query.set(name, value);
  return get(`/entries?${query}`);
}

let filterRun = 0;
async function applyFilters() {
  const run = ++filterRun;
  const result = await search(null).catch((error) => (toast(error.message), null));
  if (!result || run !== filterRun) return;
  clearTranscript();
  appendLines(result.lines);
  state.oldestSeq = result.before ?? result.lines[0]?.seq ?? null;
  if (result.lines.length) state.lastSeq = Math.max(state.lastSeq ?? 0, result.lines.at(-1).seq);
  id("older").hidden = result.before === null;
  id("transcript").scrollTop = id("transcript").scrollHeight;
}

function setFilters(values) {
  id("filters").reset();
  for (const [name, value] of Object.entries(values)) filters[name].value = value;
  applyFilters();
  id("transcript-title").scrollIntoView({ behavior: "smooth" });
  id("transcript-title").focus({ preventScroll: true });
}

let filterTimer = 0;
id("filters").addEventListener("input", () => {
  clearTimeout(filterTimer);
  filterTimer = setTimeout(applyFilters, 250);
});
id("filters").addEventListener("submit", (event) => event.preventDefault());
id("filters").addEventListener("reset", () => setTimeout(applyFilters, 0));
id("pause").addEventListener("click", () => {
  state.paused = !state.paused;
  id("pause").setAttribute("aria-pressed", String(state.paused));
  setText(id("pause"), state.paused ? "Continue" : "Pause");
  if (!state.paused) flush();
});
id("older").addEventListener("click", async () => {
  const list = id("transcript");
  const result = await search(state.oldestSeq).catch((error) => (toast(error.message), null));
  if (!result) return;
  const height = list.scrollHeight;
  const items = [];
  let day = "";
  for (const line of result.lines) {
    if (line.at.slice(0, 10) !== day) {
      day = line.at.slice(0, 10);
      items.push(make("li", { class: "day", "data-day": day }, `${day} UTC`));
    }
    items.push(lineItem(line));
  }
  if (list.firstElementChild?.classList.contains("day") && list.firstElementChild.dataset.day === day) list.firstElementChild.remove();
  list.prepend(...items);
  list.scrollTop = list.scrollHeight - height;
  state.oldestSeq = result.before ?? result.lines[0]?.seq ?? state.oldestSeq;
  id("older").hidden = result.before === null;
});

// Arrow keys move between the entries; Enter shows why.
id("transcript").addEventListener("keydown", (event) => {
  if (!["ArrowDown", "ArrowUp", "Home", "End"].includes(event.key)) return;
  const buttons = [...id("transcript").querySelectorAll("button")];
  if (!buttons.length) return;
  event.preventDefault();
  const at = buttons.indexOf(document.activeElement);
  const next = { ArrowDown: Math.min(at + 1, buttons.length - 1), ArrowUp: at < 0 ? buttons.length - 1 : Math.max(at - 1, 0), Home: 0, End: buttons.length - 1 }[event.key];
  buttons[next].focus();
});

// --- Why ----------------------------------------------------------------------------------------

async function showWhy(what) {
  setText(id("why-title"), typeof what === "number" ? `Why: entry ${what}` : `Why: transaction ${short(what)}`);
  setText(id("why-text"), "Reading the journal…");
  if (!id("why").open) id("why").showModal();
  const text = await get(`/why/${what}`).catch((error) => error.message);
  setText(id("why-text"), text);
}

// --- Hands --------------------------------------------------------------------------------------

fill(id("fault-names"), "names", ...FAULT_NAMES.map((value) => make("option", { value })));

function showHands(evse) {
  const evseId = evse.evse_id;
  let card = id(`hands-${evseId}`);
  if (!card) {
    const act = (op, more = {}) => () => order(`/orders/${op}`, { evse_id: evseId, ...more });
    const card_ = make("input", { id: `card-${evseId}`, value: "04A224B2", autocomplete: "off", spellcheck: false, "aria-label": `UID of the card for EVSE ${evseId}` });
    const soc = make("input", { id: `soc-${evseId}`, type: "number", value: "20", min: "0", max: "100" });
    const button = (text, action, name) => make("button", { type: "button", onclick: action, id: `${name}-${evseId}` }, text);
    card = make("div", { id: `hands-${evseId}`, class: "card" }, make("h3", {}, `EVSE ${evseId}`),
      make("div", { class: "row-of-controls" },
        make("label", {}, "Card", card_),
        button("Present", () => order("/orders/present_token", { id_token: card_.value.trim(), type: "ISO14443", evse_id: evseId }), "present"),
        make("label", {}, "SoC of the EV, %", soc),
        button("Plug in", () => order("/orders/plug_in", { evse_id: evseId, ev: { soc: Number(soc.value) } }), "plug"),
        button("Unplug", act("unplug"), "unplug"),
        button("Stop button", act("stop_button"), "stop"),
        button("EV pauses", act("ev_pause"), "pause-ev"),
        button("EV continues", act("ev_ready"), "ready-ev")));
    id("hands-evses").append(card);
  }
}

for (const button of document.querySelectorAll("[data-op]")) {
  button.addEventListener("click", () => order(`/orders/${button.dataset.op}`, {}));
}
id("set-link").addEventListener("click", () => order("/orders/link", { mode: id("link-mode").value }, `Network: ${id("link-mode").value}`));
id("step-clock").addEventListener("click", () => order("/orders/clock", { step_s: Number(id("clock-step").value) }, "The clock was stepped."));
function injectFault(op) {
  const [device, kind] = id("fault-name").value.trim().split(/\s+/);
  return order(`/orders/${op}`, { device, kind, evse_id: Number(id("fault-evse").value) }, `${device} ${kind}: done`);
}
id("set-fault").addEventListener("click", () => injectFault("fault"));
id("clear-fault").addEventListener("click", () => injectFault("clear_fault"));

// --- Start --------------------------------------------------------------------------------------

function onConnection(connection) {
  if (connection !== "lost") return;
  fill(id("pills"), "lost", make("li", { class: "pill bad" }, "No connection to the page"));
}

await logInFromAddress();
const stream = follow(
  () => (state.lastSeq === null ? "/stream" : `/stream?after=${state.lastSeq}`),
  { hello: onHello, live: onLive, entry: onEntry },
  onConnection,
);
showSession();
