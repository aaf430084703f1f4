// A column is as wide as what stands in it side by side can be read; the calendar scrolls to what has no room.
import { VIEWS, board, isPhone } from "./page.js";
import { calendar, shownDay } from "./shown.js";

const A_VISIT = 6.25; // rem that most names need, on two lines
const LEAST = { day: 7.75, week: isPhone() ? A_VISIT : 0 };

let drawn = "";
export function fitColumns({ view }) {
  const main = board.querySelector(".ec-main");
  const least = { [VIEWS.day]: LEAST.day, [VIEWS.week]: LEAST.week }[view.type];
  if (!main) return;
  if (least === undefined) return main.style.removeProperty("grid-template-columns");
  const visits = calendar.getEvents().map((event) => event.extendedProps.visit).filter(Boolean);
  const crowds = view.type === VIEWS.day ? crowdsOfPlaces(visits) : crowdsOfDays(visits, calendar.getView().currentStart);
  const isCrowded = crowds.some((most) => most > 1);
  const widths = crowds.map((most) => Math.max(least, isCrowded ? Math.max(most, 1) * A_VISIT : 0));
  main.style.gridTemplateColumns = `max-content ${widths.map((width) => `minmax(${width}rem, 1fr)`).join(" ")}`;
  const isNew = drawn !== view.title + view.type;
  if (isNew && view.type === VIEWS.week) showDay(main);
  if (visits.length) drawn = view.title + view.type; // Before they have come, it is not as wide as it will be.
}

function showDay(main) { // Of a week that has no room, the day that was asked for is seen first.
  const at = (calendar.getOption("date").getDay() + 6) % 7;
  const head = board.querySelectorAll(".ec-col-head")[at];
  const hours = board.querySelector(".ec-sidebar")?.offsetWidth ?? 0;
  if (head) main.scrollLeft = Math.min(head.offsetLeft - hours, head.offsetLeft + head.offsetWidth - main.clientWidth);
}

const crowdsOfPlaces = (visits) => calendar.getOption("resources").map((one) => crowd(visits.filter((visit) => visit.resource_id === +one.id)));

function crowdsOfDays(visits, since) {
  return [0, 1, 2, 3, 4, 5, 6].map((days) => {
    const [day, next] = [days, days + 1].map((more) => `${shownDay(new Date(since.getFullYear(), since.getMonth(), since.getDate() + more))}T00:00:00`);
    return crowd(visits.filter((visit) => visit.start < next && visit.end > day));
  });
}

function crowd(visits) { // How many are there at one time, at most.
  const edges = visits.flatMap(({ start, end }) => [[start, 1], [end, -1]]).sort(([one, more], [other, most]) => one.localeCompare(other) || more - most);
  let now = 0;
  return Math.max(0, ...edges.map(([, step]) => (now += step)));
}
