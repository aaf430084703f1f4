// Dragging a visit to another time, resource or length, and what happens when that is refused.
import { ask } from "./asking.js";
import { find, make, say } from "./page.js";
import { calendar, put } from "./shown.js";

function later(shown, delta) {
  const moment = new Date(`${shown}Z`); // as if the wall were UTC: only to count on it
  moment.setUTCFullYear(moment.getUTCFullYear() + (delta.years ?? 0), moment.getUTCMonth() + (delta.months ?? 0), moment.getUTCDate() + delta.days);
  moment.setUTCSeconds(moment.getUTCSeconds() + delta.seconds);
  return moment.toISOString().slice(0, 19);
}

export async function drop({ event, delta, newResource, revert }) {
  const { visit } = event.extendedProps;
  const start = later(visit.start, delta);
  const wanted = { version: visit.version, start: start === visit.start ? null : start, resource_id: newResource ? +newResource.id : null };
  if (!(await move(visit, wanted, event.title))) revert();
}

export async function lengthen({ event, endDelta, revert }) {
  const { visit } = event.extendedProps;
  const wanted = { version: visit.version, end: later(visit.end, endDelta) };
  if (!(await move(visit, wanted, event.title))) revert();
}

async function move(visit, wanted, title) {
  const answer = await ask(`move/${visit.id}`, wanted);
  if (!answer.is_refused) {
    put(answer.visit);
    say(answer.warning || `${title}: now ${answer.visit.times}, ${answer.visit.resource}.`, !answer.warning);
    find("cal-no").close();
    return true;
  }
  refuse(answer, visit, wanted, title);
  if (answer.status === 412) calendar.refetchEvents();
  return false;
}

function refuse(answer, visit, wanted, title) {
  const dialog = find("cal-no");
  const why = dialog.querySelector(".cal-why");
  dialog.querySelector(".cal-refusal").textContent = answer.sentence;
  const there = (slot) => ({ start: slot.start, resource_id: slot.resource_id, ...(wanted.end ? { end: slot.ends_at } : {}) });
  showFree(dialog, answer, (slot) => move(visit, { ...wanted, ...there(slot), override_reason: "" }, title));
  why.hidden = !answer.may_override;
  why.querySelector("input").disabled = !answer.may_override;
  find("cal-anyway").onsubmit = (submitted) => {
    submitted.preventDefault();
    move(visit, { ...wanted, override_reason: why.querySelector("input").value.trim() }, title);
  };
  if (!dialog.open) {
    why.querySelector("input").value = "";
    dialog.showModal();
  }
  if (answer.may_override) why.querySelector("input").focus();
}

export function showFree(dialog, answer, take) {
  const free = dialog.querySelector(".cal-free");
  free.replaceChildren();
  if (!answer.next_free?.length) return;
  free.append(make("span", "Free next:"));
  for (const slot of answer.next_free) {
    const button = make("button", `${slot.words}, ${slot.resource}`, { type: "button", className: "btn btn-sm" });
    button.addEventListener("click", () => take(slot));
    free.append(button);
  }
}
