// The dialog for a new booking.
import { callServer } from "./api.js";
import { showFreeSlots } from "./changes.js";
import { byId, createElement, filters, resources, services, showMessage } from "./page.js";
import { clearCustomer, customerId } from "./customer.js";
import { currentDay, updateVisit } from "./view.js";

const form = byId("cal-booking");

function fillOptions(resourceId, serviceId) {
  const fields = form.elements;
  const offered = services.filter((service) => !resourceId || service.resource_ids.includes(+resourceId));
  fields.service_id.replaceChildren(...offered.map((service) => createElement("option", `${service.title} · ${service.duration_minutes} min`, { value: service.id })));
  if (offered.some((service) => service.id === +serviceId)) fields.service_id.value = serviceId;
  fields.resource_id.replaceChildren(createElement("option", "Any free resource", { value: "" }), ...resources.map((resource) => createElement("option", resource.name, { value: resource.id })));
  fields.resource_id.value = resourceId || "";
}

export function openBookingDialog(start, resourceId) {
  form.reset();
  clearCustomer();
  fillOptions(resourceId || filters.elements.resource.value, filters.elements.service.value);
  form.elements.start.value = start;
  toggleNewCustomer();
  showRefusal({});
  byId("cal-book").showModal();
  byId("cal-customer-box").focus();
}

function showRefusal(response) {
  const dialog = byId("cal-book");
  const refusal = dialog.querySelector(".cal-refusal");
  refusal.textContent = response.message ?? "";
  refusal.hidden = !response.message;
  showFreeSlots(dialog, response, (slot) => {
    form.elements.start.value = slot.start.slice(0, 16);
    if (form.elements.resource_id.value) form.elements.resource_id.value = slot.resource_id;
    form.elements.override_reason.value = "";
    form.requestSubmit();
  });
  dialog.querySelector(".cal-override-fields").hidden = !response.may_override;
  if (!response.may_override) form.elements.override_reason.value = "";
  else form.elements.override_reason.focus();
}

function toggleNewCustomer() {
  const isNew = form.elements.is_new?.checked ?? false;
  const newCustomer = form.querySelector(".cal-new-customer");
  if (newCustomer) newCustomer.hidden = !isNew;
  form.querySelector(".cal-existing-customer").hidden = isNew;
  for (const name of ["name", "email"]) if (form.elements[name]) form.elements[name].required = isNew;
}

async function book(event) {
  event.preventDefault();
  const fields = form.elements;
  const isNew = fields.is_new?.checked;
  const response = await callServer("book", {
    service_id: +fields.service_id.value,
    start: fields.start.value,
    resource_id: +fields.resource_id.value || null,
    is_hold: fields.is_hold.checked,
    override_reason: fields.override_reason.value,
    ...(isNew ? { new_customer: { name: fields.name.value, email: fields.email.value } } : { user_id: customerId() }),
  });
  if (response.is_refused) return showRefusal(response);
  byId("cal-book").close();
  updateVisit(response.visit);
  showMessage(response.warning || `Booked: ${response.visit.customer}, ${response.visit.service}, ${response.visit.times}.`, !response.warning);
}

if (form) {
  form.addEventListener("submit", book);
  form.elements.is_new?.addEventListener("change", toggleNewCustomer);
  form.elements.resource_id.addEventListener("change", () => fillOptions(form.elements.resource_id.value, form.elements.service_id.value));
  byId("cal-new").addEventListener("click", () => openBookingDialog(`${currentDay()}T09:00`, ""));
}
