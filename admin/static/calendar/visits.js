// Visits as the calendar takes them.
import { VIEWS, chosen, make, mayChange, places } from "./page.js";

export const isWanted = (visit) => {
  const { resource, service, cancelled } = chosen();
  const isOver = visit.status === "cancelled" || (visit.expires_at && Date.parse(visit.expires_at) <= Date.now());
  return (!resource || visit.resource_id === +resource) && (!service || visit.service_id === +service) && (cancelled || !isOver);
};

export const eventOf = (visit) => ({
  id: String(visit.id),
  resourceIds: [String(visit.resource_id)],
  start: visit.start,
  end: visit.end,
  allDay: false,
  title: `${visit.customer}, ${visit.service}`,
  classNames: ["cal-visit", `cal-${visit.status}`, ...(visit.is_hold ? ["cal-hold"] : [])],
  editable: mayChange && visit.is_movable,
  extendedProps: { visit },
});

export function shades(fed, view) {
  const isByResource = view === VIEWS.day;
  const isOfDays = view === VIEWS.month || view === VIEWS.list;
  const shut = isByResource ? fed.shut : fed.shut_everywhere;
  // A week shows the closures that hold for all that is in it: one person's leave closes nobody else.
  const isShown = (one) => isByResource || isOfDays || !one.resource_id || chosen().resource;
  const closed = fed.closures.filter(isShown).map((one) => ({
    id: `closure-${one.id}`,
    start: one.start,
    end: one.end,
    allDay: false,
    title: one.reason || "Closed",
    classNames: ["cal-closure"],
    display: isOfDays ? "auto" : "background",
    editable: false,
    resourceIds: isByResource ? (one.resource_id ? [String(one.resource_id)] : places.map((each) => String(each.id))) : [],
    extendedProps: { closure: one },
  }));
  if (isOfDays) return closed;
  return [
    ...shut.map((gap, at) => ({
      id: `shut-${at}`,
      start: gap.start,
      end: gap.end,
      allDay: false,
      display: "background",
      classNames: ["cal-shut"],
      resourceIds: gap.resource_id ? [String(gap.resource_id)] : [],
    })),
    ...closed,
  ];
}

// What one sees of a visit: when, who, how it stands in words, and what; so that what is cut off is the last of it.

export function content({ event, view }) {
  const { visit, closure } = event.extendedProps;
  if (closure) return { domNodes: [make("div", closure.resource_id && view.type !== VIEWS.day ? `${nameOfPlace(closure.resource_id)}: ${event.title}` : event.title, { className: "cal-closed" })] };
  if (!visit) return undefined;
  const begins = visit.times.split(" – ")[0]; // A block's length says when it ends.
  const words = make("div", "", { className: "cal-line" });
  words.append(
    make("span", view.type === VIEWS.list ? visit.times : begins, { className: "cal-times" }), " ",
    make("b", visit.customer, { className: "cal-who" }), " ",
    make("span", visit.words, { className: "cal-words" }), " ",
  );
  if (view.type === VIEWS.month) return { domNodes: [words] };
  const where = view.type === VIEWS.day ? "" : ` · ${visit.resource}`;
  return { domNodes: [words, make("div", `${visit.service}${where}`, { className: "cal-what" })] };
}
const nameOfPlace = (number) => places.find((one) => one.id === number)?.name ?? "";
