// A new booking.
import { ask } from "./asking.js";
import { showFree } from "./moving.js";
import { filters, find, make, offers, places, say } from "./page.js";
import { forget, whom } from "./person.js";
import { dayShown, put } from "./shown.js";

const booking = find("cal-booking");

function offer(resource, service) {
  const fields = booking.elements;
  const served = offers.filter((one) => !resource || one.resource_ids.includes(+resource));
  fields.service_id.replaceChildren(...served.map((one) => make("option", `${one.title} · ${one.duration_minutes} min`, { value: one.id })));
  if (served.some((one) => one.id === +service)) fields.service_id.value = service;
  fields.resource_id.replaceChildren(make("option", "Any that is free", { value: "" }), ...places.map((one) => make("option", one.name, { value: one.id })));
  fields.resource_id.value = resource || "";
}

export function askForBooking(start, resource) {
  booking.reset();
  forget();
  offer(resource || filters.elements.resource.value, filters.elements.service.value);
  booking.elements.start.value = start;
  showNewcomer();
  tellOfBooking({});
  find("cal-book").showModal();
  find("cal-person").focus();
}

function tellOfBooking(answer) {
  const dialog = find("cal-book");
  const refusal = dialog.querySelector(".cal-refusal");
  refusal.textContent = answer.sentence ?? "";
  refusal.hidden = !answer.sentence;
  showFree(dialog, answer, (slot) => {
    booking.elements.start.value = slot.start.slice(0, 16);
    if (booking.elements.resource_id.value) booking.elements.resource_id.value = slot.resource_id;
    booking.elements.override_reason.value = "";
    booking.requestSubmit();
  });
  dialog.querySelector(".cal-why").hidden = !answer.may_override;
  if (!answer.may_override) booking.elements.override_reason.value = "";
  else booking.elements.override_reason.focus();
}

function showNewcomer() {
  const isNew = booking.elements.is_new?.checked ?? false;
  const newcomer = booking.querySelector(".cal-newcomer");
  if (newcomer) newcomer.hidden = !isNew;
  booking.querySelector(".cal-known").hidden = isNew;
  for (const name of ["name", "email"]) if (booking.elements[name]) booking.elements[name].required = isNew;
}

async function book(submitted) {
  submitted.preventDefault();
  const fields = booking.elements;
  const isNew = fields.is_new?.checked;
  const answer = await ask("book", {
    service_id: +fields.service_id.value,
    start: fields.start.value,
    resource_id: +fields.resource_id.value || null,
    is_hold: fields.is_hold.checked,
    override_reason: fields.override_reason.value,
    ...(isNew ? { newcomer: { name: fields.name.value, email: fields.email.value } } : { user_id: whom() }),
  });
  if (answer.is_refused) return tellOfBooking(answer);
  find("cal-book").close();
  put(answer.visit);
  say(answer.warning || `Booked: ${answer.visit.customer}, ${answer.visit.service}, ${answer.visit.times}.`, !answer.warning);
}

if (booking) {
  booking.addEventListener("submit", book);
  booking.elements.is_new?.addEventListener("change", showNewcomer);
  booking.elements.resource_id.addEventListener("change", () => offer(booking.elements.resource_id.value, booking.elements.service_id.value));
  find("cal-new").addEventListener("click", () => askForBooking(`${dayShown()}T09:00`, ""));
}
