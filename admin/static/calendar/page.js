// The calendar counts in wall-clock times of the business: what the server writes is shown, and what is dragged or
// clicked is sent back as a wall-clock time. The browser's own zone plays no part.
export const board = document.getElementById("calendar");
export const place = board.dataset.place;
export const places = JSON.parse(board.dataset.places);
export const offers = JSON.parse(board.dataset.offers);
export const mayChange = board.dataset.change === "1";
export const mayBook = board.dataset.book === "1";
export const VIEWS = { day: "resourceTimeGridDay", week: "timeGridWeek", month: "dayGridMonth", list: "listWeek" };
const nameOf = (view) => Object.keys(VIEWS).find((name) => VIEWS[name] === view) ?? "day";
export const filters = document.getElementById("cal-filters");
export const find = (id) => document.getElementById(id);
export const isPhone = () => window.innerWidth < 700;

export const make = (tag, text = "", more = {}) => {
  const made = Object.assign(document.createElement(tag), more);
  made.textContent = text;
  return made;
};

// What is chosen is in the address, so that a page that is loaded again, or sent to somebody, shows the same.

const address = new URLSearchParams(location.search);
for (const name of ["resource", "service"]) filters.elements[name].value = address.get(name) ?? "";
filters.elements.cancelled.checked = address.get("cancelled") === "1";
// A phone has room for one column, and nobody reads more than thirty: one begins with the first, and sees that.
if ((isPhone() || places.length > 30) && !filters.elements.resource.value && places.length) filters.elements.resource.value = places[0].id;
export const chosen = () => ({
  resource: filters.elements.resource.value,
  service: filters.elements.service.value,
  cancelled: filters.elements.cancelled.checked ? "1" : "",
});

export function keepAddress(view, day) {
  const kept = Object.entries({ ...chosen(), view: nameOf(view), date: day }).filter(([, value]) => value);
  history.replaceState(null, "", `?${new URLSearchParams(kept)}`);
}

export const first = {
  view: VIEWS[address.get("view")] ?? VIEWS.day,
  date: /^\d{4}-\d\d-\d\d$/.test(address.get("date") ?? "") ? address.get("date") : board.dataset.now.slice(0, 10),
};

// Telling.

const told = find("cal-told");
export function say(sentence, isGood = false) {
  told.textContent = sentence;
  told.classList.toggle("is-good", isGood);
  told.hidden = !sentence;
}
