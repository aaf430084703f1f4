// The dialog for a new booking.
import { callServer, newKey, whileBusy } from "./api.js";
import { showFreeSlots } from "./changes.js";
import { customerId, forgetCustomer, selectCustomer } from "./customer.js";
import { openDialog } from "./dialogs.js";
import { showFreeTimes } from "./free_times.js";
import { board, byId, createElement, filters, resources, services, wallNow } from "./page.js";
import { showToast } from "./toast.js";
import { currentDay, updateVisit } from "./view.js";

const form = byId("cal-booking");
let key; // of the booking that this dialog makes
let freeTimes;

const durationText = (minutes) => (minutes % 1440 ? `${minutes} min` : `${minutes / 1440} ${minutes === 1440 ? "day" : "days"}`);

// The position that a resource can have in a service: 1 if it serves it, or that of what it needs besides.
const positionOf = (service, resourceId) => (service.resource_ids.includes(resourceId) ? 1 : service.other_positions[resourceId]);

function chosenResource() {
  const [service, resourceId] = [services.find((one) => one.id === +form.elements.service_id.value), +form.elements.resource_id.value];
  return resourceId ? { [(service && positionOf(service, resourceId)) ?? 1]: resourceId } : null;
}

function fillOptions(resourceId, serviceId) {
  const fields = form.elements;
  const offered = services.filter((service) => !resourceId || positionOf(service, +resourceId));
  fields.service_id.replaceChildren(createElement("option", "Choose a service", { value: "" }), ...offered.map((service) => createElement("option", `${service.title} · ${durationText(service.duration_minutes)}`, { value: service.id })));
  if (offered.some((service) => service.id === +serviceId)) fields.service_id.value = serviceId;
  fields.resource_id.replaceChildren(createElement("option", "Any free resource", { value: "" }), ...resources.map((resource) => createElement("option", resource.name, { value: resource.id })));
  fields.resource_id.value = resourceId || "";
}

export function openBookingDialog(start, resourceId) {
  form.reset();
  forgetCustomer();
  fillOptions(resourceId || filters.elements.resource.value, filters.elements.service.value);
  form.elements.start.value = start;
  key = newKey();
  toggleNewCustomer();
  showRefusal({});
  freeTimes.forget();
  freeTimes.refresh();
  openDialog(byId("cal-book"));
  byId("cal-customer-box").focus();
}

// Opens the dialog with what the address of the page asks for: ?book=1, and perhaps &customer= and &service=.
export function openAsAsked(query) {
  const customer = JSON.parse(board.dataset.customer);
  openBookingDialog(suggestStart(), "");
  if (query.get("service")) fillOptions("", query.get("service"));
  if (customer) {
    selectCustomer(customer);
    form.elements.service_id.focus();
  }
}

function suggestStart() { // 09:00 of the day that is shown, or the next quarter of an hour if that is over.
  const opening = `${currentDay()}T09:00`;
  const now = wallNow();
  if (opening > now.toISOString()) return opening;
  now.setUTCMinutes(Math.ceil((now.getUTCMinutes() + 1) / 15) * 15);
  return now.toISOString().slice(0, 16);
}

function showRefusal(response) {
  const dialog = byId("cal-book");
  const refusal = dialog.querySelector(".cal-refusal");
  refusal.textContent = response.message ?? "";
  refusal.hidden = !response.message;
  showFreeSlots(dialog, response, (slot) => {
    take(slot);
    form.requestSubmit();
  });
  dialog.querySelector(".cal-overlap").hidden = !response.may_overlap;
  dialog.querySelector(".cal-override-fields").hidden = !response.may_override;
  if (!response.may_override) form.elements.override_reason.value = "";
  else form.elements.override_reason.focus();
}

function take(slot) {
  form.elements.start.value = slot.start.slice(0, 16);
  const chosen = chosenResource();
  if (chosen) form.elements.resource_id.value = slot.resources[Object.keys(chosen)[0]] ?? slot.resource_id;
  form.elements.override_reason.value = "";
}

// What the free times are asked for, once a service and a day are chosen.
function wantedTimes() {
  const { service_id, start, part, seats } = form.elements;
  if (!service_id.value || !start.value || !seats.checkValidity()) return null;
  const [position, resourceId] = Object.entries(chosenResource() ?? {})[0] ?? [];
  const resource = resourceId ? { resource_id: resourceId, position } : {};
  return { service_id: service_id.value, day: start.value.slice(0, 10), part: part.value, seats: seats.value, ...resource };
}

function toggleNewCustomer() {
  const isNew = form.elements.is_new?.checked ?? false;
  const newCustomer = form.querySelector(".cal-new-customer");
  if (newCustomer) newCustomer.hidden = !isNew;
  form.querySelector(".cal-existing-customer").hidden = isNew;
  if (form.elements.name) form.elements.name.required = isNew;
}

function isComplete() {
  const { is_new, phone, email } = form.elements;
  byId("cal-customer-box").setCustomValidity(is_new?.checked || customerId() ? "" : "Choose a customer.");
  phone?.setCustomValidity(is_new.checked && !phone.value.trim() && !email.value.trim() ? "Enter a phone number or an e-mail address." : "");
  return form.reportValidity();
}

// What was typed to find a customer begins the new one: it is a name, a phone number or an e-mail address.
function startNewCustomer(typed) {
  const { is_new, name, phone, email } = form.elements;
  is_new.checked = true;
  toggleNewCustomer();
  const filled = typed.includes("@") ? email : /^[+(]?\d[\d ()/.-]*$/.test(typed) ? phone : name;
  filled.value = typed;
  (filled === name ? phone : name).focus();
}

async function book(isOverlap, resources) {
  const fields = form.elements;
  const isNew = fields.is_new?.checked;
  const response = await callServer("book", {
    key,
    overlap: isOverlap,
    service_id: +fields.service_id.value,
    start: fields.start.value,
    resources: resources ?? chosenResource(),
    seats: +fields.seats.value,
    is_hold: fields.is_hold.checked,
    override_reason: fields.override_reason.value,
    ...(isNew ? { new_customer: { name: fields.name.value, phone: fields.phone.value, email: fields.email.value } } : { user_id: customerId() }),
  });
  if (response.is_saved_already) key = newKey();
  if (response.is_refused) return showRefusal(response);
  byId("cal-book").close();
  updateVisit(response.visit);
  showToast(`${response.visit.is_hold ? "Held" : "Booked"} with ${response.visit.resource}, ${response.when}.`, response);
}

function send(pressed, isOverlap, resources) {
  if (!isComplete()) return undefined;
  const buttons = form.querySelectorAll(".cal-submit button, .cal-overlap button, .cal-free button, .cal-times button");
  return whileBusy([...buttons], pressed, "Booking…", () => book(isOverlap, resources));
}

if (form) {
  freeTimes = showFreeTimes(form.querySelector(".cal-times"), {
    ask: wantedTimes,
    goTo: (day) => { form.elements.start.value = `${day}T${form.elements.start.value.slice(11)}`; freeTimes.refresh(); },
    onSelect: (slot, button) => {
      take(slot);
      send(button, false, slot.resources);
    },
  });
  form.addEventListener("input", freeTimes.refresh);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    send(form.querySelector(".cal-submit button"), false);
  });
  form.querySelector(".cal-overlap button").addEventListener("click", ({ currentTarget }) => send(currentTarget, true));
  form.elements.is_new?.addEventListener("change", toggleNewCustomer);
  for (const field of [byId("cal-customer-box"), form.elements.phone, form.elements.email]) {
    field?.addEventListener("input", () => { for (const one of [byId("cal-customer-box"), form.elements.phone]) one?.setCustomValidity(""); });
  }
  byId("cal-customer-box").addEventListener("new-customer", ({ detail }) => startNewCustomer(detail));
  form.elements.resource_id.addEventListener("change", () => fillOptions(form.elements.resource_id.value, form.elements.service_id.value));
  byId("cal-new").addEventListener("click", () => openBookingDialog(suggestStart(), ""));
}
