// The free times of a day in the booking dialog: a button each, which books. If there is none, a button says why.
import { callServer } from "./api.js";
import { createElement } from "./page.js";

const WAIT = 200; // milliseconds without a change, before the server is asked

const dayText = (day) => new Date(`${day}T12:00Z`).toLocaleDateString("en-GB", { weekday: "long", day: "numeric", month: "long", timeZone: "UTC" });
const nextDay = (day) => new Date(Date.parse(`${day}T12:00Z`) + 86_400_000).toISOString().slice(0, 10);

function countText({ slots, has_more: hasMore }) {
  if (!slots.length) return "No free time.";
  return `${slots.length === 1 ? "1 free time" : `${slots.length} ${hasMore ? "and more " : ""}free times`}. Choose one to book it.`;
}

// `ask` returns what is looked for, or null as long as something is missing. `onSelect` gets a slot and its button.
export function showFreeTimes(box, { ask, onSelect, goTo }) {
  const list = box.querySelector(".cal-times-list");
  const none = box.querySelector(".cal-times-none");
  const reasons = box.querySelector(".cal-times-why");
  const [head, count] = [box.querySelector("b"), box.querySelector("[role=status]")];
  let timer;
  let asked = "";

  const show = (response) => {
    list.replaceChildren(...response.slots.map((slot) => {
      const button = createElement("button", `${slot.time} ${slot.resource}`, { type: "button", className: "btn btn-sm" });
      button.addEventListener("click", () => onSelect(slot, button));
      return button;
    }));
    count.textContent = countText(response);
    none.hidden = response.slots.length > 0;
  };

  async function load() {
    const wanted = ask();
    const query = wanted && new URLSearchParams(wanted).toString();
    if (query === asked) return;
    asked = query;
    box.hidden = !wanted;
    reasons.hidden = true;
    if (!wanted) return;
    head.textContent = `${dayText(wanted.day)}:`;
    const response = await callServer(`free-times?${query}`);
    if (query === asked) show(response.is_refused ? { slots: [] } : response);
  }

  async function explain() {
    const response = await callServer(`why-none?${asked}`);
    reasons.replaceChildren(...(response.reasons ?? [response.message]).map((reason) => createElement("li", reason)));
    reasons.hidden = false;
  }

  box.querySelector("[data-why]").addEventListener("click", explain);
  box.querySelector("[data-next-day]").addEventListener("click", () => goTo(nextDay(ask().day)));
  return {
    refresh: () => { clearTimeout(timer); timer = setTimeout(load, WAIT); },
    forget: () => { asked = ""; box.hidden = true; },
  };
}
