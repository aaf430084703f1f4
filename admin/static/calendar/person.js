// Looking a customer up, by name or e-mail.
import { board, find, make } from "./page.js";

let person = null;
const typed = find("cal-person");
const people = find("cal-people");
export const whom = () => person;
export const forget = () => { person = null; };
let waits;
let marked = -1;

function mark(at) {
  marked = at;
  [...people.children].forEach((option, each) => option.setAttribute("aria-selected", String(each === at)));
  if (people.children[at]) typed.setAttribute("aria-activedescendant", people.children[at].id);
  else typed.removeAttribute("aria-activedescendant");
}

function unfold(found) {
  people.replaceChildren(...found.map((one, at) => {
    const option = make("li", one.text, { id: `cal-person-${at}`, role: "option" });
    option.addEventListener("mousedown", (pressed) => { pressed.preventDefault(); take(one); });
    option.take = () => take(one);
    return option;
  }));
  people.hidden = !found.length;
  typed.setAttribute("aria-expanded", String(found.length > 0));
  mark(found.length ? 0 : -1);
}

function take(one) {
  person = +one.id;
  typed.value = one.text;
  unfold([]);
}

async function lookUp() {
  const term = typed.value.trim();
  if (!term) return unfold([]);
  const answer = await fetch(`${board.dataset.people}?${new URLSearchParams({ name: "user", term })}`);
  if (typed.value.trim() === term && answer.ok && answer.headers.get("Content-Type")?.includes("json")) unfold((await answer.json()).results);
}

if (typed) {
  typed.addEventListener("input", () => { forget(); clearTimeout(waits); waits = setTimeout(lookUp, 150); });
  typed.addEventListener("blur", () => unfold([]));
  typed.addEventListener("keydown", (pressed) => {
    if (people.hidden) return;
    const step = { ArrowDown: 1, ArrowUp: -1 }[pressed.key];
    if (step) mark((marked + step + people.children.length) % people.children.length);
    else if (pressed.key === "Enter") people.children[marked]?.take();
    else if (pressed.key === "Escape") unfold([]);
    else return;
    pressed.preventDefault();
  });
}
