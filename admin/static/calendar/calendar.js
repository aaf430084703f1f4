// The calendar page: sets up the calendar library. The other modules load the events and run the actions.
import { openAsAsked, openBookingDialog } from "./booking_dialog.js";
import { drop, resize } from "./changes.js";
import { fitColumns } from "./columns.js";
import { guardDialogs } from "./dialogs.js";
import { eventContent } from "./events.js";
import { connect } from "./live.js";
import { board, filters, initial, isPhone, mayBook, mayChange, selection, shownResources, updateUrl } from "./page.js";
import { currentDay, load, setCalendar } from "./view.js";
import { openVisit } from "./visit_dialog.js";

guardDialogs();
const asked = new URLSearchParams(location.search);

const columns = () => shownResources().filter((resource) => !selection().resource || resource.id === +selection().resource).map((resource) => ({ id: String(resource.id), title: resource.name }));
const clock = { hour: "2-digit", minute: "2-digit", hourCycle: "h23" };
const calendar = EventCalendar.create(board, {
  ...initial,
  timeZone: board.dataset.offset, // "Today" and the current-time line follow the business's clock
  locale: "en-GB",
  firstDay: 1,
  height: isPhone() ? "75vh" : "calc(100vh - 13rem)",
  headerToolbar: { start: "prev,next today", center: "title", end: "resourceTimeGridDay,timeGridWeek,dayGridMonth,listWeek" },
  buttonText: { today: "Today", resourceTimeGridDay: "Day", timeGridWeek: "Week", dayGridMonth: "Month", listWeek: "List" },
  resources: columns(),
  eventSources: [{ events: (range, callback) => { load(range, callback, () => calendar.setOption("resources", columns())); } }],
  lazyFetching: false,
  eventContent,
  eventClick: ({ event }) => {
    const { visit, closure } = event.extendedProps;
    if (visit) openVisit(visit.id);
    if (closure && board.dataset.closure) location.assign(board.dataset.closure.replace(/0$/, closure.id));
  },
  eventDrop: drop,
  dateClick: ({ dateStr, allDay, resource }) => {
    if (mayBook) openBookingDialog(allDay ? `${dateStr.slice(0, 10)}T09:00` : dateStr.slice(0, 16), resource?.id ?? "");
  },
  datesSet: ({ view }) => {
    filters.elements.date.value = currentDay();
    updateUrl(view.type, currentDay());
  },
  eventResize: resize,
  eventDurationEditable: undefined, // decided by `editable` of each visit
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
  eventDidMount: ({ el, event }) => { // The tooltip has the text that a narrow block cuts off.
    const { visit } = event.extendedProps;
    if (visit) el.title = `${visit.times}, ${visit.customer}, ${visit.service}, ${visit.resource}. ${visit.status_text}.`;
  },
  noEventsContent: "No bookings.",
  views: {
    resourceTimeGridDay: { columnWidth: isPhone() ? undefined : "minmax(7.75rem, 1fr)" },
    dayGridMonth: { eventDurationEditable: false }, // in a month, an edge is a whole day
  },
});
setCalendar(calendar);

// The library gives its grid table roles, but its events are buttons at any position. Each event names all of itself, so
// these roles are removed. The arrow buttons get names.
const WRONG_ROLES = "[role=table], [role=rowgroup], [role=row], [role=columnheader], [role=rowheader], [role=cell], [role=list], [role=listitem]";
const BUTTON_NAMES = { "button.ec-prev": "Previous", "button.ec-next": "Next" };
function fixRoles() {
  for (const element of board.querySelectorAll(WRONG_ROLES)) element.removeAttribute("role");
  for (const element of board.querySelectorAll("[aria-colindex]")) element.removeAttribute("aria-colindex");
  for (const [selector, name] of Object.entries(BUTTON_NAMES)) board.querySelector(selector)?.setAttribute("aria-label", name);
}
fixRoles();
new MutationObserver(fixRoles).observe(board, { childList: true, subtree: true });

filters.addEventListener("submit", (event) => event.preventDefault());
filters.addEventListener("change", ({ target }) => {
  if (target.name === "date") {
    if (target.value) calendar.setOption("date", target.value);
    return;
  }
  calendar.setOption("resources", columns());
  updateUrl(calendar.getView().type, currentDay());
  calendar.refetchEvents();
});

connect();
if (mayBook && asked.get("book") === "1") openAsAsked(asked);
