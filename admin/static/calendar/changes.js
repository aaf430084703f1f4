// Drag a visit to another time, resource or length, and show a refusal.
import { callServer, newKey, whileBusy } from "./api.js";
import { openDialog } from "./dialogs.js";
import { byId, createElement } from "./page.js";
import { showToast } from "./toast.js";
import { calendar, updateVisit } from "./view.js";

function addDelta(wallTime, delta) {
  const moment = new Date(`${wallTime}Z`); // Read as UTC only to add to it.
  moment.setUTCFullYear(moment.getUTCFullYear() + (delta.years ?? 0), moment.getUTCMonth() + (delta.months ?? 0), moment.getUTCDate() + delta.days);
  moment.setUTCSeconds(moment.getUTCSeconds() + delta.seconds);
  return moment.toISOString().slice(0, 19);
}

export async function drop({ event, delta, newResource, revert }) {
  const { visit, part } = event.extendedProps;
  const start = addDelta(visit.start, delta);
  const resources = newResource ? { [part.position]: +newResource.id } : null; // the others keep theirs
  const change = { version: visit.version, start: start === visit.start ? null : start, resources };
  if (!(await move(visit, change, event.title))) revert();
}

export async function resize({ event, endDelta, revert }) {
  const { visit } = event.extendedProps;
  const change = { version: visit.version, end: addDelta(visit.end, endDelta) };
  if (!(await move(visit, change, event.title))) revert();
}

async function move(visit, change, title) {
  const response = await callServer(`move/${visit.id}`, { ...change, key: newKey() });
  if (!response.is_refused) {
    updateVisit(response.visit);
    showToast(`${title}: now ${response.visit.times}, ${response.visit.resource}.`, response);
    byId("cal-refused").close();
    return true;
  }
  refuse(response, visit, change, title);
  if (response.status === 412) calendar.refetchEvents();
  return false;
}

function refuse(response, visit, change, title) {
  const dialog = byId("cal-refused");
  const override = dialog.querySelector(".cal-override-fields");
  const isMove = !change.end;
  byId("cal-refused-title").textContent = isMove ? "Not moved" : "Length not changed";
  override.querySelector("button").textContent = isMove ? "Move anyway" : "Change anyway";
  dialog.querySelector(".cal-refusal").textContent = response.message;
  const overlap = dialog.querySelector(".cal-overlap");
  const anyway = overlap.querySelector("button");
  const buttons = () => [...dialog.querySelectorAll("button:not([data-close])")];
  const again = (pressed, changed) => whileBusy(buttons(), pressed, "Saving…", () => move(visit, { ...change, ...changed }, title));
  anyway.textContent = isMove ? "Move anyway" : "Change anyway";
  anyway.onclick = () => again(anyway, { overlap: true });
  const target = (slot) => ({ start: slot.start, resources: slot.resources, ...(change.end ? { end: slot.ends_at } : {}) });
  showFreeSlots(dialog, response, (slot, button) => again(button, { ...target(slot), override_reason: "" }));
  overlap.hidden = !response.may_overlap;
  override.hidden = !response.may_override;
  override.querySelector("input").disabled = !response.may_override;
  byId("cal-override").onsubmit = (event) => {
    event.preventDefault();
    again(override.querySelector("button"), { override_reason: override.querySelector("input").value.trim() });
  };
  if (!dialog.open) {
    override.querySelector("input").value = "";
    openDialog(dialog);
  }
  if (response.may_override) override.querySelector("input").focus();
}

export function showFreeSlots(dialog, response, onSelect) {
  const container = dialog.querySelector(".cal-free");
  container.replaceChildren();
  if (!response.next_free?.length) return;
  container.append(createElement("span", "Next free:"));
  for (const slot of response.next_free) {
    const button = createElement("button", `${slot.text}, ${slot.resource}`, { type: "button", className: "btn btn-sm" });
    button.addEventListener("click", () => onSelect(slot, button));
    container.append(button);
  }
}
