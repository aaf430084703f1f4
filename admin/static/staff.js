"use strict";

const all = (wanted) => [...document.querySelectorAll(wanted)];
const one = (wanted) => document.querySelector(wanted);

all("title").slice(1).forEach((title) => title.remove()); // SQLAdmin's own, which names no page.
one(".page-wrapper")?.setAttribute("role", "main");

one("[data-bk-theme]")?.addEventListener("click", () => {
  const root = document.documentElement;
  root.dataset.bsTheme = root.dataset.bsTheme === "dark" ? "light" : "dark";
  localStorage.setItem("bookit-theme", root.dataset.bsTheme);
});

// What comes first on the screen comes first for the keyboard too: filters above the list, buttons above the details.
const filters = one(".filter-sidebar-col");
filters?.parentElement.prepend(filters);
const buttons = one(".card-body > .card-footer");
buttons?.parentElement.prepend(buttons);
const removal = one(".card-footer .btn-danger[data-pk]");
removal?.closest(".row").append(removal.parentElement);

// A phone shows a row as a card; its values keep their names.
for (const table of all(".card-table, .bk-figures")) {
  const heads = [...table.tHead.rows[0].cells].map((head) => head.innerText.trim());
  for (const row of table.rows) [...row.cells].forEach((cell, at) => { cell.dataset.label = heads[at] ?? ""; });
}

one("#search-reset")?.setAttribute("aria-label", "Clear the search");
one("#search-input")?.setAttribute("aria-label", one("#search-input").placeholder);
for (const link of all(".pagination .disabled a")) link.removeAttribute("href"); // It leads nowhere.
for (const icon of all("td.text-end a[data-pk]")) icon.setAttribute("aria-label", `Delete ${icon.dataset.pk}`);

// An act on a list is done to the rows that are ticked.
const ticked = () => all("input.select-box:checked").map((box) => box.parentElement.querySelector("input[type=hidden]").value);
for (const form of all("form[data-bk-act]")) {
  const chosen = form.elements.pks.value; // On the page of one row: that row.
  form.addEventListener("submit", () => { form.elements.pks.value = chosen || ticked().join(","); });
}
document.addEventListener("show.bs.modal", () => {
  for (const place of all("[data-bk-count]")) place.textContent = `${ticked().length} selected.`;
});
document.addEventListener("shown.bs.modal", (event) => event.target.querySelector("input[name=reason]")?.focus());

// Two days become one value: 2026-05-04..2026-05-10.
for (const form of all("form[data-bk-days]")) {
  form.addEventListener("submit", () => {
    const [first, last] = [form.querySelector("[data-bk-first]").value, form.querySelector("[data-bk-last]").value];
    form.elements[form.dataset.bkDays].value = first || last ? `${first}..${last}` : "all";
  });
}

// A list of names closes when one looks elsewhere.
const picks = all(".bk-pick");
const close = (but) => picks.filter((pick) => pick !== but).forEach((pick) => { pick.open = false; });
document.addEventListener("click", (event) => close(event.target.closest(".bk-pick")));
document.addEventListener("keydown", (event) => {
  const open = event.key === "Escape" && picks.find((pick) => pick.open);
  if (open) { close(); open.querySelector("summary").focus(); }
});

// Look-ups are named by their labels, and can be typed into as soon as they open.
for (const shown of all(".select2-selection[role=combobox]")) {
  const field = shown.closest("div").querySelector("select");
  shown.setAttribute("aria-labelledby", `${field.id}-label ${shown.getAttribute("aria-labelledby") ?? ""}`);
  for (const name of ["aria-describedby", "aria-invalid", "aria-required"]) {
    if (field.hasAttribute(name)) shown.setAttribute(name, field.getAttribute(name));
  }
}
window.jQuery?.(document).on("select2:open", () => one(".select2-container--open .select2-search__field")?.focus());
one("#bk-stale, .is-invalid:not(select), .is-invalid + .select2 .select2-selection")?.focus();
