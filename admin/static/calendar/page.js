// The page's elements, filters and URL. The calendar counts in wall-clock times of the business: it shows the times that
// the server sends and sends back wall-clock times. The browser's own time zone is not used.
export const board = document.getElementById("calendar");
export const baseUrl = board.dataset.baseUrl;
export const resources = JSON.parse(board.dataset.resources);
export const services = JSON.parse(board.dataset.services);
// Inactive resources and services that have visits in the range shown, as the feed names them.
export const inactive = { resources: [], services: [] };
export const shownResources = () => [...resources, ...inactive.resources.map(({ id, name }) => ({ id, name: `${name} (inactive)` }))];
export const mayChange = board.dataset.change === "1";
export const mayBook = board.dataset.book === "1";
export const VIEWS = { day: "resourceTimeGridDay", week: "timeGridWeek", month: "dayGridMonth", list: "listWeek" };
const viewName = (view) => Object.keys(VIEWS).find((name) => VIEWS[name] === view) ?? "day";
export const filters = document.getElementById("cal-filters");
export const byId = (id) => document.getElementById(id);
// The time on the business's wall, as a Date that is read as UTC.
const loadedAt = performance.now();
export const wallNow = () => new Date(Date.parse(`${board.dataset.now}Z`) + performance.now() - loadedAt);
export const isPhone = () => window.innerWidth < 700;

export const createElement = (tag, text = "", properties = {}) => {
  const element = Object.assign(document.createElement(tag), properties);
  element.textContent = text;
  return element;
};

// The filters are in the URL, so that a reloaded page or a shared link shows the same.

const query = new URLSearchParams(location.search);
for (const name of ["resource", "service"]) filters.elements[name].value = query.get(name) ?? "";
filters.elements.cancelled.checked = query.get("cancelled") === "1";
// A phone has room for one column, and more than thirty are unreadable: start with the first resource.
if ((isPhone() || resources.length > 30) && !filters.elements.resource.value && resources.length) filters.elements.resource.value = resources[0].id;
export const selection = () => ({
  resource: filters.elements.resource.value,
  service: filters.elements.service.value,
  cancelled: filters.elements.cancelled.checked ? "1" : "",
});

// Keeps an inactive one in the filter while it is selected, even if it has no visits in the range.
export function setInactive(found) {
  for (const [kind, field] of [["resources", "resource"], ["services", "service"]]) {
    const select = filters.elements[field], chosen = select.selectedOptions[0];
    for (const option of select.querySelectorAll("[data-inactive]")) if (option !== chosen) option.remove();
    for (const { id, name } of found[kind].filter(({ id }) => String(id) !== select.value)) {
      const option = createElement("option", `${name} (inactive)`, { value: id });
      option.dataset.inactive = "1";
      select.append(option);
    }
    inactive[kind] = found[kind];
  }
}

export function updateUrl(view, day) {
  const params = Object.entries({ ...selection(), view: viewName(view), date: day }).filter(([, value]) => value);
  history.replaceState(null, "", `?${new URLSearchParams(params)}`);
}

export const initial = {
  view: VIEWS[query.get("view")] ?? VIEWS.day,
  date: /^\d{4}-\d\d-\d\d$/.test(query.get("date") ?? "") ? query.get("date") : board.dataset.now.slice(0, 10),
};

const messageBox = byId("cal-message");
export function showMessage(text, isGood = false) {
  messageBox.textContent = text;
  messageBox.classList.toggle("is-good", isGood);
  messageBox.hidden = !text;
}
