// EV driver's display: shows what the station says should be shown, and nothing of its own, except
// when the station does not answer.

import { follow, logInFromAddress } from "/assets/session.js";

const MARKS = {
  ready: "M14 34l12 12 24-28",
  done: "M14 34l12 12 24-28",
  act: "M12 32h36M36 18l14 14-14 14",
  wait: "M32 14v18l12 8M32 6a26 26 0 1 0 .1 0",
  charging: "M36 6L16 36h14l-2 22 20-30H34z",
  paused: "M22 14v36M42 14v36",
  closed: "M12 32h40",
  fault: "M32 8L6 54h52zM32 26v12M32 46v.5",
};
const UNREACHABLE = {
  mood: "closed", headline: "Out of service", language: "en",
  help: "The charging station does not answer. Please use another one.", amount_texts: [],
};
const SLIDE_MS = 5000;
const LOST_MS = 6000; // without news from the page's server, the last words may no longer hold

const id = (name) => document.getElementById(name);
const evseId = Number(location.pathname.split("/").pop());
let newsAt = performance.now();

function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

function show(view, station) {
  document.documentElement.lang = view.language;
  document.body.dataset.mood = view.mood;
  document.body.dataset.situation = view.situation ?? "";
  id("mark-path").setAttribute("d", MARKS[view.mood] ?? MARKS.wait);
  setText(id("headline"), view.headline);
  setText(id("help"), view.help);
  const soc = view.amounts?.soc_percent;
  id("soc-bar").hidden = soc === undefined || soc === null;
  id("soc-fill").style.width = `${soc ?? 0}%`;
  const texts = view.amount_texts;
  const list = id("amounts");
  while (list.children.length > texts.length) list.lastChild.remove();
  texts.forEach((text, index) => {
    const item = list.children[index] ?? list.appendChild(document.createElement("li"));
    setText(item, text);
  });
  showTextArea(view);
  setText(id("evse"), `EVSE ${evseId}`);
  setText(id("station"), station);
}

// Below the words: messages of the CSMS in front have this area to themselves; others take turns
// with tariff and cost. O01.FR.12 to 15.
function showTextArea(view) {
  const messages = view.messages ?? [];
  const front = messages.filter((message) => message.priority !== "NormalCycle");
  const own = [view.cost, view.tariff].filter(Boolean).map((content) => ({ content }));
  const slides = front.length ? front : [...own, ...messages];
  const slide = slides[Math.floor(performance.now() / SLIDE_MS) % slides.length];
  const area = id("messages");
  area.hidden = !slide;
  area.lang = slide?.language ?? view.language;
  setText(area, slide?.content ?? "");
}

function onLive(live) {
  newsAt = performance.now();
  const evse = live.evses?.find((each) => each.evse_id === evseId);
  if (!evse?.display) {
    show(UNREACHABLE, "");
    setText(id("clock"), "");
    return;
  }
  const display = live.display;
  const notice = [display.notice_headline, display.notice_help].filter(Boolean).join(". ");
  show(evse.display, notice || display.headline);
  setText(id("clock"), `${live.at.slice(11, 16)} UTC`);
}

await logInFromAddress();
follow(() => "/stream?lines=0", { live: onLive }, () => {});
setInterval(() => {
  if (performance.now() - newsAt > LOST_MS) show(UNREACHABLE, "");
}, 1000);
