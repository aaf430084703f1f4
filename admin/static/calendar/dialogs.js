// Opening and closing dialogs. A dialog in which something was typed asks before it closes.
import { createElement } from "./page.js";

const opened = new WeakMap(); // what the fields of an open dialog were when it opened

const fieldValues = (dialog) => [...dialog.querySelectorAll("input, select, textarea")].map((field) => (field.type === "checkbox" ? field.checked : field.value)).join("\n");

export function openDialog(dialog) {
  opened.set(dialog, fieldValues(dialog));
  dialog.querySelector(".cal-discard")?.remove();
  if (!dialog.open) dialog.showModal();
}

export function closeOrAsk(dialog) {
  const question = dialog.querySelector(".cal-discard");
  if (question) return question.remove(); // A second Escape keeps what was typed.
  if (fieldValues(dialog) === opened.get(dialog)) return dialog.close();
  const discard = createElement("button", "Discard", { type: "button", className: "btn btn-sm" });
  const keep = createElement("button", "Keep editing", { type: "button", className: "btn btn-sm btn-primary" });
  const box = createElement("div", "", { className: "cal-discard" });
  box.append(createElement("p", "Discard what you entered?"), keep, " ", discard);
  box.setAttribute("role", "alert");
  discard.addEventListener("click", () => dialog.close());
  keep.addEventListener("click", () => box.remove());
  dialog.querySelector(".cal-dialog-head").after(box);
  keep.focus();
}

export function guardDialogs() {
  for (const dialog of document.querySelectorAll("dialog")) {
    dialog.addEventListener("cancel", (event) => { event.preventDefault(); closeOrAsk(dialog); });
    for (const button of dialog.querySelectorAll("[data-close]")) button.addEventListener("click", () => closeOrAsk(dialog));
  }
  document.addEventListener("keydown", (event) => {
    const dialog = document.querySelector("dialog[open]");
    if (event.key !== "Escape" || event.defaultPrevented || !dialog) return;
    event.preventDefault(); // Chromium would close the dialog at a second Escape, whatever "cancel" says.
    closeOrAsk(dialog);
  });
}
