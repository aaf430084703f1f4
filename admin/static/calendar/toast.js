// What was just done, for ten seconds, with a button that takes it back.
import { callServer, newKey, whileBusy } from "./api.js";
import { byId, showMessage } from "./page.js";
import { updateVisit } from "./view.js";

const SECONDS = 10;
const toast = byId("cal-toast");
const [undoButton, closeButton] = toast.querySelectorAll("button");
let timer;
let undo;

const hide = () => { clearTimeout(timer); toast.hidden = true; undo = undefined; };
const startTimer = () => { clearTimeout(timer); timer = setTimeout(hide, SECONDS * 1000); };

export function showToast(text, response) {
  undo = response?.undo && { id: response.visit.id, body: { ...response.undo, key: newKey() } };
  undoButton.hidden = !undo;
  toast.querySelector("span").textContent = [text, response?.warning].filter(Boolean).join(" ");
  toast.hidden = false;
  showMessage("");
  startTimer();
}

async function takeBack() {
  if (!undo) return;
  const { id, body } = undo;
  clearTimeout(timer);
  await whileBusy([undoButton], undoButton, "Undoing…", async () => {
    const response = await callServer(`undo/${id}`, body);
    if (response.is_refused) {
      hide();
      return showMessage(response.message);
    }
    updateVisit(response.visit);
    showToast(`Undone: ${response.visit.customer}, ${response.visit.service} is ${response.visit.status_text.toLowerCase()}, ${response.when} with ${response.visit.resource}.`);
  });
}

undoButton.addEventListener("click", takeBack);
closeButton.addEventListener("click", hide);
for (const name of ["mouseenter", "focusin"]) toast.addEventListener(name, () => clearTimeout(timer));
for (const name of ["mouseleave", "focusout"]) toast.addEventListener(name, () => { if (!toast.hidden) startTimer(); });
document.addEventListener("keydown", (event) => {
  const isTyping = event.target.matches?.("input, textarea, select");
  if (event.key !== "z" || !(event.ctrlKey || event.metaKey) || isTyping || toast.hidden || document.querySelector("dialog[open]")) return;
  event.preventDefault();
  takeBack();
});
