// One visit, and what can be done to it.
import { ask } from "./asking.js";
import { board, find, make, mayChange, say } from "./page.js";
import { put } from "./shown.js";

export async function open(number) {
  const answer = await ask(`visit/${number}`);
  if (answer.is_refused) return say(answer.sentence);
  const dialog = find("cal-visit");
  const { visit } = answer;
  find("cal-visit-title").textContent = `${visit.customer}, ${visit.service}`;
  dialog.querySelector(".cal-dialog-when").textContent = `${answer.when} (${visit.times}), ${visit.resource}. ${visit.words}.`;
  dialog.querySelector(".cal-refusal").hidden = true;
  find("cal-reason").value = "";
  dialog.querySelector("[data-page-link]").href = board.dataset.page.replace(/0$/, visit.id);
  dialog.querySelector("[data-edit-link]").href = board.dataset.edit.replace(/0$/, visit.id);
  dialog.querySelector("[data-edit-link]").hidden = !mayChange;
  find("cal-deed").hidden = !answer.acts.length;
  dialog.querySelector(".bk-acts").replaceChildren(...answer.acts.map((act) => buttonOf(act, visit)), ...answer.acts.filter((act) => act.refusal).map((act) => make("p", act.refusal, { id: `cal-why-${act.name}` })));
  if (!dialog.open) dialog.showModal();
}

function buttonOf(act, visit) {
  const button = make("button", act.label, { type: "button", className: "btn", title: act.question });
  if (act.refusal) {
    button.setAttribute("aria-disabled", "true");
    button.setAttribute("aria-describedby", `cal-why-${act.name}`);
    return button;
  }
  button.addEventListener("click", async () => {
    const answer = await ask(`act/${visit.id}`, { version: visit.version, act: act.name, reason: find("cal-reason").value });
    if (answer.is_refused) {
      const refusal = find("cal-visit").querySelector(".cal-refusal");
      refusal.textContent = answer.sentence;
      refusal.hidden = false;
      return;
    }
    find("cal-visit").close();
    put(answer.visit);
    say(`${answer.visit.customer}, ${answer.visit.service}: ${answer.visit.words}.`, true);
  });
  return button;
}
