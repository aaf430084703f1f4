// The dialog of one visit, with its actions.
import { callServer } from "./api.js";
import { board, byId, createElement, mayChange, showMessage } from "./page.js";
import { updateVisit } from "./view.js";

export async function openVisit(id) {
  const response = await callServer(`visit/${id}`);
  if (response.is_refused) return showMessage(response.message);
  const dialog = byId("cal-visit");
  const { visit } = response;
  byId("cal-visit-title").textContent = `${visit.customer}, ${visit.service}`;
  dialog.querySelector(".cal-dialog-when").textContent = `${response.when} (${visit.times}), ${visit.resource}. ${visit.status_text}.`;
  dialog.querySelector(".cal-refusal").hidden = true;
  byId("cal-reason").value = "";
  dialog.querySelector("[data-page-link]").href = board.dataset.page.replace(/0$/, visit.id);
  dialog.querySelector("[data-edit-link]").href = board.dataset.edit.replace(/0$/, visit.id);
  dialog.querySelector("[data-edit-link]").hidden = !mayChange;
  byId("cal-status-form").hidden = !response.acts.length;
  dialog.querySelector(".bk-acts").replaceChildren(...response.acts.map((act) => makeButton(act, visit)), ...response.acts.filter((act) => act.refusal).map((act) => createElement("p", act.refusal, { id: `cal-why-${act.name}` })));
  if (!dialog.open) dialog.showModal();
}

function makeButton(act, visit) {
  const button = createElement("button", act.label, { type: "button", className: "btn", title: act.question });
  if (act.refusal) {
    button.setAttribute("aria-disabled", "true");
    button.setAttribute("aria-describedby", `cal-why-${act.name}`);
    return button;
  }
  button.addEventListener("click", async () => {
    const response = await callServer(`act/${visit.id}`, { version: visit.version, act: act.name, reason: byId("cal-reason").value });
    if (response.is_refused) {
      const refusal = byId("cal-visit").querySelector(".cal-refusal");
      refusal.textContent = response.message;
      refusal.hidden = false;
      return;
    }
    byId("cal-visit").close();
    updateVisit(response.visit);
    showMessage(`${response.visit.customer}, ${response.visit.service}: ${response.visit.status_text}.`, true);
  });
  return button;
}
