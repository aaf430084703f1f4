// The calendar of the desk. It is drawn by its library; what is on it, and what is done, is in the modules beside.
import { askForBooking } from "./booking.js";
import { listen } from "./live.js";
import { drop, lengthen } from "./moving.js";
import { VIEWS, board, chosen, filters, first, isPhone, keepAddress, mayBook, mayChange, places } from "./page.js";
import { dayShown, load, show } from "./shown.js";
import { open } from "./visit.js";
import { content } from "./visits.js";
import { fitColumns } from "./widths.js";

for (const button of document.querySelectorAll("dialog [data-close]")) button.addEventListener("click", () => button.closest("dialog").close());

const columns = () => places.filter((one) => !chosen().resource || one.id === +chosen().resource).map((one) => ({ id: String(one.id), title: one.name }));
const clock = { hour: "2-digit", minute: "2-digit", hourCycle: "h23" };
const calendar = EventCalendar.create(board, {
  ...first,
  timeZone: board.dataset.offset, // so that "today" and the line of now are the business's
  locale: "en-GB",
  firstDay: 1,
  height: isPhone() ? "75vh" : "calc(100vh - 13rem)",
  headerToolbar: { start: "prev,next today", center: "title", end: "resourceTimeGridDay,timeGridWeek,dayGridMonth,listWeek" },
  buttonText: { today: "Today", resourceTimeGridDay: "Day", timeGridWeek: "Week", dayGridMonth: "Month", listWeek: "List" },
  resources: columns(),
  eventSources: [{ events: (range, give) => { load(range, give); } }],
  lazyFetching: false,
  eventContent: content,
  eventClick: ({ event }) => {
    const { visit, closure } = event.extendedProps;
    if (visit) open(visit.id);
    if (closure) location.assign(board.dataset.closure.replace(/0$/, closure.id));
  },
  eventDrop: drop,
  dateClick: ({ dateStr, allDay, resource }) => {
    if (mayBook) askForBooking(allDay ? `${dateStr.slice(0, 10)}T09:00` : dateStr.slice(0, 16), resource?.id ?? "");
  },
  datesSet: ({ view }) => {
    filters.elements.date.value = dayShown();
    keepAddress(view.type, dayShown());
  },
  eventResize: lengthen,
  eventDurationEditable: undefined, // as each visit is editable
  editable: mayChange,
  nowIndicator: true,
  allDaySlot: false,
  slotDuration: "00:30",
  slotHeight: 30,
  snapDuration: "00:05",
  scrollTime: "07:30",
  slotLabelFormat: clock,
  eventTimeFormat: clock,
  longPressDelay: 400,
  dayMaxEvents: true,
  slotEventOverlap: false,
  eventAllUpdated: fitColumns,
  eventDidMount: ({ el, event }) => { // What is too narrow to be read is still told.
    const { visit } = event.extendedProps;
    if (visit) el.title = `${visit.times}, ${visit.customer}, ${visit.service}, ${visit.resource}. ${visit.words}.`;
  },
  noEventsContent: "Nothing is booked.",
  views: {
    resourceTimeGridDay: { columnWidth: isPhone() ? undefined : "minmax(7.75rem, 1fr)" },
    dayGridMonth: { eventDurationEditable: false }, // there, an edge is a day
  },
});
show(calendar);

// The library calls its grid a table, which it is not: what is in it are buttons that lie anywhere. Each says all about
// itself, so that nothing is lost where the roles go. Its arrows have no names.
const NO_TABLE = "[role=table], [role=rowgroup], [role=row], [role=columnheader], [role=rowheader], [role=cell], [role=list], [role=listitem]";
const NAMES = { "button.ec-prev": "Before", "button.ec-next": "After" };
function tidy() {
  for (const part of board.querySelectorAll(NO_TABLE)) part.removeAttribute("role");
  for (const part of board.querySelectorAll("[aria-colindex]")) part.removeAttribute("aria-colindex");
  for (const [wanted, name] of Object.entries(NAMES)) board.querySelector(wanted)?.setAttribute("aria-label", name);
}
tidy();
new MutationObserver(tidy).observe(board, { childList: true, subtree: true });

filters.addEventListener("submit", (submitted) => submitted.preventDefault());
filters.addEventListener("change", ({ target }) => {
  if (target.name === "date") {
    if (target.value) calendar.setOption("date", target.value);
    return;
  }
  calendar.setOption("resources", columns());
  keepAddress(calendar.getView().type, dayShown());
  calendar.refetchEvents();
});

listen();
