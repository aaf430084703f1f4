"use strict";

const queryAll = (selector) => [...document.querySelectorAll(selector)];
const query = (selector) => document.querySelector(selector);

queryAll("title").slice(1).forEach((title) => title.remove()); // SQLAdmin's own title does not name the page.
query(".page-wrapper")?.setAttribute("role", "main");

query("[data-bk-theme]")?.addEventListener("click", () => {
  const root = document.documentElement;
  root.dataset.bsTheme = root.dataset.bsTheme === "dark" ? "light" : "dark";
  localStorage.setItem("bookit-theme", root.dataset.bsTheme);
});

// Tab order follows the screen: filters above the list, buttons above the details.
const filters = query(".filter-sidebar-col");
filters?.parentElement.prepend(filters);
const buttons = query(".card-body > .card-footer");
buttons?.parentElement.prepend(buttons);
const deleteButton = query(".card-footer .btn-danger[data-pk]");
deleteButton?.closest(".row").append(deleteButton.parentElement);

// A phone shows a row as a card: each value needs its column's label.
for (const table of queryAll(".card-table, .bk-figures")) {
  const labels = [...table.tHead.rows[0].cells].map((head) => head.innerText.trim());
  for (const row of table.rows) [...row.cells].forEach((cell, index) => { cell.dataset.label = labels[index] ?? ""; });
}

query("#search-reset")?.setAttribute("aria-label", "Clear the search");
query("#search-input")?.setAttribute("aria-label", query("#search-input").placeholder);
for (const link of queryAll(".pagination .disabled a")) link.removeAttribute("href"); // It has no target.
for (const icon of queryAll("td.text-end a[data-pk]")) icon.setAttribute("aria-label", `Delete ${icon.dataset.pk}`);

// An action of a list applies to the ticked rows.
const tickedIds = () => queryAll("input.select-box:checked").map((box) => box.parentElement.querySelector("input[type=hidden]").value);
for (const form of queryAll("form[data-bk-act]")) {
  const rowId = form.elements.pks.value; // Set on the page of one row.
  form.addEventListener("submit", () => { form.elements.pks.value = rowId || tickedIds().join(","); });
}
document.addEventListener("show.bs.modal", () => {
  for (const node of queryAll("[data-bk-count]")) node.textContent = `${tickedIds().length} selected.`;
});
document.addEventListener("shown.bs.modal", (event) => event.target.querySelector("input[name=reason]")?.focus());

// Two days become one value: 2026-05-04..2026-05-10.
for (const form of queryAll("form[data-bk-days]")) {
  form.addEventListener("submit", () => {
    const [first, last] = [form.querySelector("[data-bk-first]").value, form.querySelector("[data-bk-last]").value];
    form.elements[form.dataset.bkDays].value = first || last ? `${first}..${last}` : "all";
  });
}

// A list of names closes on a click elsewhere and on Escape.
const pickers = queryAll(".bk-pick");
const close = (except) => pickers.filter((picker) => picker !== except).forEach((picker) => { picker.open = false; });
document.addEventListener("click", (event) => close(event.target.closest(".bk-pick")));
document.addEventListener("keydown", (event) => {
  const open = event.key === "Escape" && pickers.find((picker) => picker.open);
  if (open) { close(); open.querySelector("summary").focus(); }
});

// Look-ups take the name of their label, and get the focus when they open.
for (const box of queryAll(".select2-selection[role=combobox]")) {
  const field = box.closest("div").querySelector("select");
  box.setAttribute("aria-labelledby", `${field.id}-label ${box.getAttribute("aria-labelledby") ?? ""}`);
  for (const name of ["aria-describedby", "aria-invalid", "aria-required"]) {
    if (field.hasAttribute(name)) box.setAttribute(name, field.getAttribute(name));
  }
}
window.jQuery?.(document).on("select2:open", () => query(".select2-container--open .select2-search__field")?.focus());
query("#bk-stale, .is-invalid:not(select), .is-invalid + .select2 .select2-selection")?.focus();

// A new booking has a field for each further resource that its service needs, labelled with the role: "In which room".
// Before a service is chosen, it has as many as any service needs.
{
  const [labels, service] = [query("[data-bk-labels]"), query("select[name=service]")];
  const byService = labels ? JSON.parse(labels.dataset.bkLabels) : {};
  const fields = labels ? queryAll("select[id$=_resource]").map((field) => [field, query(`#${field.id}-label`)]) : [];
  const texts = fields.map(([, label]) => label.textContent);
  const showFields = () => fields.forEach(([field, label], index) => {
    const words = service.value ? byService[service.value]?.[field.name] : texts[index];
    field.closest(".form-group").hidden = !words;
    label.textContent = words ?? texts[index];
    if (!words && field.value) window.jQuery(field).val(null).trigger("change");
  });
  if (fields.length) {
    window.jQuery(service).on("change", showFields);
    showFields();
  }
}

// A form is sent once: its buttons are busy until the next page comes. The key of a form that was sent is kept with the
// page, so that Back and Save again is recognised, even if the browser loads the page anew.
const BUSY_LABEL = "Saving…";
for (const form of queryAll("form[method=post i]:not([data-bk-passkey])")) {
  const key = form.elements.form_key;
  if (key && history.state?.formKey) key.value = history.state.formKey;
  form.addEventListener("submit", (event) => {
    if (form.ariaBusy === "true") return event.preventDefault();
    form.ariaBusy = "true";
    if (key) history.replaceState({ ...history.state, formKey: key.value }, "");
    setTimeout(() => { // After the browser has read which button was pressed.
      for (const button of form.querySelectorAll("button")) button.disabled = true;
      if (event.submitter) { event.submitter.dataset.label = event.submitter.textContent; event.submitter.textContent = BUSY_LABEL; }
    });
  });
}
window.addEventListener("pageshow", ({ persisted }) => { // Back shows the page as it was left: busy.
  if (!persisted) return;
  for (const form of queryAll("form[aria-busy=true]")) {
    form.ariaBusy = null;
    for (const button of form.querySelectorAll("button")) {
      button.disabled = false;
      if (button.dataset.label) button.textContent = button.dataset.label;
    }
  }
});

// A new customer needs no password: the field is shown for a person who works here.
const newRole = query('form[action$="/user/create"] [name="role"]');
const newPassword = newRole?.form.elements.password;
if (newPassword) {
  const showPassword = () => { newPassword.closest(".form-group").hidden = newRole.value === "user" && !newPassword.value; };
  newRole.addEventListener("change", showPassword);
  showPassword();
}
