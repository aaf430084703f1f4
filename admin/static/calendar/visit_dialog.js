// The dialog of one visit: the act that fits the moment, and the others behind "More".
import { callServer, newKey, whileBusy } from "./api.js";
import { closeOrAsk, openDialog } from "./dialogs.js";
import { board, byId, createElement, mayChange, showMessage } from "./page.js";
import { showToast } from "./toast.js";
import { updateVisit } from "./view.js";

const dialog = byId("cal-visit");
const [refusalBox, askBox, overlapBox] = [".cal-refusal", ".cal-ask", ".cal-overlap"].map((selector) => dialog.querySelector(selector));

export async function openVisit(id) {
  const response = await callServer(`visit/${id}`);
  if (response.is_refused) return showMessage(response.message);
  const { visit, acts } = response;
  byId("cal-visit-title").textContent = `${visit.customer}, ${visit.service}`;
  dialog.querySelector(".cal-dialog-when").textContent = `${response.when} (${visit.times}), ${visit.resource}. ${visit.status_text}.`;
  byId("cal-reason").value = "";
  dialog.querySelector("[data-page-link]").href = board.dataset.page.replace(/0$/, visit.id);
  dialog.querySelector("[data-edit-link]").href = board.dataset.edit.replace(/0$/, visit.id);
  dialog.querySelector("[data-edit-link]").hidden = !mayChange;
  showActs(acts, visit);
  openDialog(dialog);
}

function showActs(acts, visit) {
  for (const box of [refusalBox, askBox, overlapBox]) box.hidden = true;
  const primary = acts.filter((act) => act.is_primary);
  const others = acts.filter((act) => !act.is_primary).sort((one, other) => (one.name === "cancel") - (other.name === "cancel"));
  const more = dialog.querySelector(".cal-more");
  more.open = false;
  more.hidden = !acts.length;
  dialog.querySelector(".cal-primary").replaceChildren(...primary.map((act) => makeButton(act, visit)));
  dialog.querySelector(".bk-acts").replaceChildren(...others.map((act) => makeButton(act, visit)), ...others.filter((act) => act.refusal).map((act) => createElement("p", act.refusal, { id: `cal-why-${act.name}` })));
}

function makeButton(act, visit) {
  const button = createElement("button", act.label, { type: "button", className: act.is_primary ? "btn btn-primary" : "btn", title: act.question });
  if (act.name === "cancel") button.classList.add("cal-apart");
  if (act.refusal) {
    button.setAttribute("aria-disabled", "true");
    button.setAttribute("aria-describedby", `cal-why-${act.name}`);
    return button;
  }
  button.addEventListener("click", () => (act.asks ? ask(act, visit) : run(act, visit, button)));
  return button;
}

function ask(act, visit) {
  const yes = createElement("button", act.label, { type: "button", className: act.name === "cancel" ? "btn btn-danger" : "btn btn-primary" });
  const no = createElement("button", "Back", { type: "button", className: "btn" });
  yes.addEventListener("click", () => run(act, visit, yes));
  no.addEventListener("click", () => { askBox.hidden = true; });
  askBox.replaceChildren(createElement("p", act.question), no, " ", yes);
  askBox.hidden = false;
  no.focus();
}

async function run(act, visit, button, isOverlap = false) {
  const key = newKey();
  await whileBusy([...dialog.querySelectorAll("#cal-status-form button")], button, "Saving…", async () => {
    const response = await callServer(`act/${visit.id}`, { version: visit.version, act: act.name, reason: byId("cal-reason").value, overlap: isOverlap, key });
    if (response.is_refused) return refuse(response, act, visit);
    dialog.close();
    updateVisit(response.visit);
    showToast(`${response.visit.customer}, ${response.visit.service}: ${response.visit.status_text}.`, response);
  });
}

function refuse(response, act, visit) {
  refusalBox.textContent = response.message;
  refusalBox.hidden = false;
  askBox.hidden = true;
  overlapBox.hidden = !response.may_overlap;
  const button = createElement("button", `${act.label} anyway`, { type: "button", className: "btn" });
  button.addEventListener("click", () => run(act, visit, button, true));
  overlapBox.replaceChildren(button);
}
