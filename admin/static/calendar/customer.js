// The customer look-up, by name, phone or e-mail; what finds nobody can begin a new customer.
import { board, byId, createElement } from "./page.js";

let selectedId = null;
const input = byId("cal-customer-box");
const mayAdd = Boolean(document.querySelector(".cal-new-customer"));
const list = byId("cal-customers");
export const customerId = () => selectedId;
const clearCustomer = () => { selectedId = null; };
let timer;
let activeIndex = -1;

function activate(index) {
  activeIndex = index;
  [...list.children].forEach((option, at) => option.setAttribute("aria-selected", String(at === index)));
  if (list.children[index]) input.setAttribute("aria-activedescendant", list.children[index].id);
  else input.removeAttribute("aria-activedescendant");
}

function showOptions(people) {
  list.replaceChildren(...people.map((person, index) => {
    const option = createElement("li", person.text, { id: `cal-customer-option-${index}`, role: "option" });
    option.addEventListener("mousedown", (event) => { event.preventDefault(); selectCustomer(person); });
    option.select = () => selectCustomer(person);
    return option;
  }));
  list.hidden = !people.length;
  input.setAttribute("aria-expanded", String(people.length > 0));
  activate(people.length ? 0 : -1);
}

export function selectCustomer(person) {
  if (person.typed) {
    showOptions([]);
    input.dispatchEvent(new CustomEvent("new-customer", { detail: person.typed }));
    return;
  }
  selectedId = +person.id;
  input.value = person.text;
  showOptions([]);
}

export function forgetCustomer() {
  clearTimeout(timer);
  clearCustomer();
  if (input) showOptions([]);
}

async function lookUp() {
  const term = input.value.trim();
  if (!term) return showOptions([]);
  const response = await fetch(`${board.dataset.people}?${new URLSearchParams({ name: "user", term })}`);
  if (input.value.trim() !== term || !response.ok || !response.headers.get("Content-Type")?.includes("json")) return;
  const { results } = await response.json();
  showOptions(mayAdd && !results.length ? [{ text: `New customer: ${term}`, typed: term }] : results);
}

if (input) {
  input.addEventListener("input", () => { clearCustomer(); clearTimeout(timer); timer = setTimeout(lookUp, 150); });
  input.addEventListener("blur", () => showOptions([]));
  input.addEventListener("keydown", (event) => {
    if (list.hidden) return;
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step) activate((activeIndex + step + list.children.length) % list.children.length);
    else if (event.key === "Enter") list.children[activeIndex]?.select();
    else if (event.key === "Escape") showOptions([]);
    else return;
    event.preventDefault();
  });
}
