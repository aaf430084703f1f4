// Visits, closures and closed times as events of the calendar library.
import { VIEWS, createElement, mayChange, selection, shownResources } from "./page.js";

export const matchesFilters = (visit) => {
  const { resource, service, cancelled } = selection();
  const isOver = visit.status === "cancelled" || (visit.expires_at && Date.parse(visit.expires_at) <= Date.now());
  return (!resource || visit.resource_id === +resource) && (!service || visit.service_id === +service) && (cancelled || !isOver);
};

const DAY_MS = 24 * 60 * 60 * 1000;
export const toEvent = (visit) => ({
  id: String(visit.id),
  resourceIds: [String(visit.resource_id)],
  start: visit.start,
  end: visit.end,
  allDay: false,
  title: `${visit.customer}, ${visit.service}`,
  classNames: ["cal-visit", `cal-${visit.status}`, ...(visit.is_hold ? ["cal-hold"] : []), ...(Date.parse(visit.end) - Date.parse(visit.start) >= DAY_MS ? ["cal-long"] : [])],
  editable: mayChange && visit.is_movable,
  extendedProps: { visit },
});

export function backgroundEvents(feed, view) {
  const isByResource = view === VIEWS.day;
  const isWholeDays = view === VIEWS.month || view === VIEWS.list;
  const closedTimes = isByResource ? feed.closed : feed.closed_everywhere;
  // A week shows only closures of all resources, unless one resource is selected.
  const isShown = (closure) => isByResource || isWholeDays || !closure.resource_id || selection().resource;
  const closures = feed.closures.filter(isShown).map((closure) => ({
    id: `closure-${closure.id}`,
    start: closure.start,
    end: closure.end,
    allDay: false,
    title: closure.reason || "Closed",
    classNames: ["cal-closure"],
    display: isWholeDays ? "auto" : "background",
    editable: false,
    resourceIds: isByResource ? (closure.resource_id ? [String(closure.resource_id)] : shownResources().map((resource) => String(resource.id))) : [],
    extendedProps: { closure },
  }));
  if (isWholeDays) return closures;
  return [
    ...closedTimes.map((gap, index) => ({
      id: `closed-${index}`,
      start: gap.start,
      end: gap.end,
      allDay: false,
      display: "background",
      classNames: ["cal-closed-time"],
      resourceIds: gap.resource_id ? [String(gap.resource_id)] : [],
    })),
    ...closures,
  ];
}

// The text of a visit: time, customer, status, service. A short block cuts off the end.
export function eventContent({ event, view }) {
  const { visit, closure } = event.extendedProps;
  if (closure) return { domNodes: [createElement("div", closure.resource_id && view.type !== VIEWS.day ? `${resourceName(closure.resource_id)}: ${event.title}` : event.title, { className: "cal-closed" })] };
  if (!visit) return undefined;
  const startTime = visit.times.split(" – ")[0]; // The block's length shows the end.
  const line = createElement("div", "", { className: "cal-line" });
  line.append(
    createElement("span", view.type === VIEWS.list ? visit.times : startTime, { className: "cal-times" }), " ",
    createElement("b", visit.customer, { className: "cal-customer" }), " ",
    createElement("span", visit.status_text, { className: "cal-status" }), " ",
  );
  if (view.type === VIEWS.month) return { domNodes: [line] };
  const location = view.type === VIEWS.day ? "" : ` · ${visit.resource}`;
  return { domNodes: [line, createElement("div", `${visit.service}${location}`, { className: "cal-service" })] };
}
const resourceName = (id) => shownResources().find((resource) => resource.id === id)?.name ?? "";
