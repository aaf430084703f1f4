// Visits, closures and closed times as events of the calendar library.
import { VIEWS, createElement, mayChange, selection, shownResources } from "./page.js";

export const matchesFilters = (visit) => {
  const { resource, service, cancelled } = selection();
  const isOver = visit.status === "cancelled" || (visit.expires_at && Date.parse(visit.expires_at) <= Date.now());
  return (!resource || visit.resource_ids.includes(+resource)) && (!service || visit.service_id === +service) && (cancelled || !isOver);
};

const DAY_MS = 24 * 60 * 60 * 1000;

// When each resource serves a visit: in most visits, one resource serves all of it.
export const partsOf = (visit) => (visit.parts.length ? visit.parts : [{ resource_id: visit.resource_id, position: 1, start: visit.start, end: visit.end }]);

// The day view has a column for each resource, so a visit is an event in each; the other views show it once.
export const toEvents = (visit, view) => (view === VIEWS.day ? partsOf(visit) : [{ ...visit, position: 1 }]).map((part, index) => ({
  id: index ? `${visit.id}-${index}` : String(visit.id),
  resourceIds: [String(part.resource_id)],
  start: part.start,
  end: part.end,
  allDay: false,
  title: `${visit.customer}, ${visit.service}`,
  classNames: ["cal-visit", `cal-${visit.status}`, ...(visit.is_hold ? ["cal-hold"] : []), ...(Date.parse(visit.end) - Date.parse(visit.start) >= DAY_MS ? ["cal-long"] : [])],
  editable: mayChange && visit.is_movable,
  ...(part.end === visit.end ? {} : { durationEditable: false }),
  extendedProps: { visit, part },
}));

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
  const { visit, part, closure } = event.extendedProps;
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
  const others = new Set(partsOf(visit).filter((one) => one.resource_id !== part.resource_id).map((one) => one.name));
  const location = view.type === VIEWS.day ? [...others].join(", ") : visit.resource;
  const seats = visit.seats > 1 ? `${visit.seats} seats` : "";
  return { domNodes: [line, createElement("div", [visit.service, seats, location].filter(Boolean).join(" · "), { className: "cal-service" })] };
}
const resourceName = (id) => shownResources().find((resource) => resource.id === id)?.name ?? "";
