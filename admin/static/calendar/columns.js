// Makes each column wide enough to read the visits side by side in it; the calendar scrolls if they do not fit.
import { VIEWS, board, isPhone } from "./page.js";
import { calendar, dateText } from "./view.js";

const VISIT_WIDTH = 6.25; // rem that most names need, on two lines
const MIN_WIDTH = { [VIEWS.day]: 7.75, [VIEWS.week]: isPhone() ? VISIT_WIDTH : 0 };

let fittedView = "";
export function fitColumns({ view }) {
  const main = board.querySelector(".ec-main");
  const minWidth = MIN_WIDTH[view.type];
  if (!main) return;
  if (minWidth === undefined) return main.style.removeProperty("grid-template-columns");
  const visits = calendar.getEvents().filter((event) => event.extendedProps.visit).map((event) => event.extendedProps.part);
  const overlaps = view.type === VIEWS.day ? overlapsByResource(visits) : overlapsByDay(visits, calendar.getView().currentStart);
  const isCrowded = overlaps.some((count) => count > 1);
  const widths = overlaps.map((count) => Math.max(minWidth, isCrowded ? Math.max(count, 1) * VISIT_WIDTH : 0));
  main.style.gridTemplateColumns = `max-content ${widths.map((width) => `minmax(${width}rem, 1fr)`).join(" ")}`;
  const isNew = fittedView !== view.title + view.type;
  if (isNew && view.type === VIEWS.week) scrollToDay(main);
  if (visits.length) fittedView = view.title + view.type; // Before the visits are loaded, the widths are not final.
}

function scrollToDay(main) { // If a week is wider than the screen, scroll to the selected day.
  const index = (calendar.getOption("date").getDay() + 6) % 7;
  const head = board.querySelectorAll(".ec-col-head")[index];
  const sidebarWidth = board.querySelector(".ec-sidebar")?.offsetWidth ?? 0;
  if (head) main.scrollLeft = Math.min(head.offsetLeft - sidebarWidth, head.offsetLeft + head.offsetWidth - main.clientWidth);
}

const overlapsByResource = (visits) => calendar.getOption("resources").map((resource) => maxOverlap(visits.filter((visit) => visit.resource_id === +resource.id)));

function overlapsByDay(visits, start) {
  return [0, 1, 2, 3, 4, 5, 6].map((offset) => {
    const [day, next] = [offset, offset + 1].map((days) => `${dateText(new Date(start.getFullYear(), start.getMonth(), start.getDate() + days))}T00:00:00`);
    return maxOverlap(visits.filter((visit) => visit.start < next && visit.end > day));
  });
}

function maxOverlap(visits) { // The largest number of visits at one time.
  const edges = visits.flatMap(({ start, end }) => [[start, 1], [end, -1]]).sort(([time, step], [otherTime, otherStep]) => time.localeCompare(otherTime) || step - otherStep);
  let count = 0;
  return Math.max(0, ...edges.map(([, step]) => (count += step)));
}
