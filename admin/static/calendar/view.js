// The drawn calendar: loads its events and updates single visits.
import { callServer } from "./api.js";
import { backgroundEvents, matchesFilters, toEvents } from "./events.js";
import { inactive, initial, selection, setInactive, showMessage } from "./page.js";

export let calendar;
export function setCalendar(drawn) {
  calendar = drawn;
}

export const dateText = (date) => `${date.getFullYear()}-${String(date.getMonth() + 1).padStart(2, "0")}-${String(date.getDate()).padStart(2, "0")}`;
export const currentDay = () => dateText(calendar.getOption("date"));

let requestCount = 0;
export async function load(range, callback, drawColumns) {
  const requestNumber = ++requestCount;
  const view = calendar?.getView().type ?? initial.view;
  const query = new URLSearchParams({ start: range.startStr, end: range.endStr, ...selection() });
  const feed = await callServer(`feed?${query}`);
  if (requestNumber !== requestCount) return; // A newer request has started.
  showMessage(feed.message ?? "");
  if (feed.is_refused) return callback([]);
  if (feed.offset !== calendar.getOption("timeZone")) calendar.setOption("timeZone", feed.offset);
  const known = JSON.stringify(inactive.resources);
  setInactive(feed.inactive);
  if (JSON.stringify(inactive.resources) !== known) drawColumns();
  callback([...backgroundEvents(feed, view), ...feed.visits.flatMap((visit) => toEvents(visit, view))]);
}

export function removeVisit(id) {
  for (const event of calendar.getEvents()) if (event.extendedProps.visit?.id === id) calendar.removeEventById(event.id);
}

export function updateVisit(visit) {
  removeVisit(visit.id);
  if (matchesFilters(visit)) toEvents(visit, calendar.getView().type).forEach((event) => calendar.addEvent(event));
}
