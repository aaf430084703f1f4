// The calendar counts in wall-clock times of the business: what the server writes is shown, and what is dragged or
// clicked is sent back as a wall-clock time. The browser's own zone plays no part.
const board = document.getElementById("calendar");
const place = board.dataset.place;
const places = JSON.parse(board.dataset.places);
const offers = JSON.parse(board.dataset.offers);
const mayChange = board.dataset.change === "1";
const mayBook = board.dataset.book === "1";
const VIEWS = { day: "resourceTimeGridDay", week: "timeGridWeek", month: "dayGridMonth", list: "listWeek" };
const nameOf = (view) => Object.keys(VIEWS).find((name) => VIEWS[name] === view) ?? "day";
const filters = document.getElementById("cal-filters");
const find = (id) => document.getElementById(id);
const isPhone = () => window.innerWidth < 700;

const make = (tag, text = "", more = {}) => {
  const made = Object.assign(document.createElement(tag), more);
  made.textContent = text;
  return made;
};

// Asking the server.

async function ask(path, sent) {
  const how = sent === undefined ? {} : { method: "POST", body: JSON.stringify(sent), headers: { "Content-Type": "application/json" } };
  let answer;
  try {
    answer = await fetch(`${place}/${path}`, how);
  } catch {
    return { sentence: "BookIt cannot be reached. Please try again.", is_refused: true };
  }
  if (answer.status === 401) location.reload(); // to sign in, and come back here
  const told = answer.headers.get("Content-Type")?.includes("json") ? await answer.json() : {};
  if (answer.ok) return told;
  return { sentence: "That did not work. Please load the page again.", ...told, status: answer.status, is_refused: true };
}

// What is chosen is in the address, so that a page that is loaded again, or sent to somebody, shows the same.

const address = new URLSearchParams(location.search);
for (const name of ["resource", "service"]) filters.elements[name].value = address.get(name) ?? "";
filters.elements.cancelled.checked = address.get("cancelled") === "1";
// A phone has room for one column, and nobody reads more than thirty: one begins with the first, and sees that.
if ((isPhone() || places.length > 30) && !filters.elements.resource.value && places.length) filters.elements.resource.value = places[0].id;
const chosen = () => ({
  resource: filters.elements.resource.value,
  service: filters.elements.service.value,
  cancelled: filters.elements.cancelled.checked ? "1" : "",
});

function keepAddress(view, day) {
  const kept = Object.entries({ ...chosen(), view: nameOf(view), date: day }).filter(([, value]) => value);
  history.replaceState(null, "", `?${new URLSearchParams(kept)}`);
}

// Telling.

const told = find("cal-told");
function say(sentence, isGood = false) {
  told.textContent = sentence;
  told.classList.toggle("is-good", isGood);
  told.hidden = !sentence;
}

// Visits as the calendar takes them.

const isWanted = (visit) => {
  const { resource, service, cancelled } = chosen();
  const isOver = visit.status === "cancelled" || (visit.expires_at && Date.parse(visit.expires_at) <= Date.now());
  return (!resource || visit.resource_id === +resource) && (!service || visit.service_id === +service) && (cancelled || !isOver);
};

const eventOf = (visit) => ({
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

function shades(fed, view) {
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

let asked = 0;
async function load(range, give) {
  const mine = ++asked;
  const view = calendar?.getView().type ?? first.view;
  const query = new URLSearchParams({ start: range.startStr, end: range.endStr, ...chosen() });
  const fed = await ask(`feed?${query}`);
  if (mine !== asked) return;
  say(fed.sentence ?? "");
  if (fed.is_refused) return give([]);
  if (fed.offset !== calendar.getOption("timeZone")) calendar.setOption("timeZone", fed.offset);
  give([...shades(fed, view), ...fed.visits.map(eventOf)]);
}

// What one sees of a visit: when, who, what and how it stands, in words.

function content({ event, view }) {
  const { visit, closure } = event.extendedProps;
  if (closure) return { domNodes: [make("div", closure.resource_id && view.type !== VIEWS.day ? `${nameOfPlace(closure.resource_id)}: ${event.title}` : event.title, { className: "cal-closed" })] };
  if (!visit) return undefined;
  const begins = visit.times.split(" – ")[0]; // A block's length says when it ends.
  if (view.type === VIEWS.month) {
    const brief = make("div", `${begins} `, { className: "cal-brief" });
    brief.append(make("b", visit.customer), ` · ${visit.words}`);
    return { domNodes: [brief] };
  }
  const where = view.type === VIEWS.day ? "" : ` · ${visit.resource}`;
  const times = make("div", `${view.type === VIEWS.list ? visit.times : begins} `, { className: "cal-times" });
  times.append(make("span", visit.words, { className: "cal-words" }));
  return {
    domNodes: [
      times,
      make("div", visit.customer, { className: "cal-who" }),
      make("div", `${visit.service}${where}`, { className: "cal-what" }),
    ],
  };
}
const nameOfPlace = (number) => places.find((one) => one.id === number)?.name ?? "";

// Dragging.

function later(shown, delta) {
  const moment = new Date(`${shown}Z`); // as if the wall were UTC: only to count on it
  moment.setUTCFullYear(moment.getUTCFullYear() + (delta.years ?? 0), moment.getUTCMonth() + (delta.months ?? 0), moment.getUTCDate() + delta.days);
  moment.setUTCSeconds(moment.getUTCSeconds() + delta.seconds);
  return moment.toISOString().slice(0, 19);
}

async function drop({ event, delta, newResource, revert }) {
  const { visit } = event.extendedProps;
  const start = later(visit.start, delta);
  const wanted = { version: visit.version, start: start === visit.start ? null : start, resource_id: newResource ? +newResource.id : null };
  if (!(await move(visit, wanted, event.title))) revert();
}

async function lengthen({ event, endDelta, revert }) {
  const { visit } = event.extendedProps;
  const wanted = { version: visit.version, end: later(visit.end, endDelta) };
  if (!(await move(visit, wanted, event.title))) revert();
}

async function move(visit, wanted, title) {
  const answer = await ask(`move/${visit.id}`, wanted);
  if (!answer.is_refused) {
    put(answer.visit);
    say(answer.warning || `${title}: now ${answer.visit.times}, ${answer.visit.resource}.`, !answer.warning);
    find("cal-no").close();
    return true;
  }
  refuse(answer, visit, wanted, title);
  if (answer.status === 412) calendar.refetchEvents();
  return false;
}

function refuse(answer, visit, wanted, title) {
  const dialog = find("cal-no");
  const why = dialog.querySelector(".cal-why");
  dialog.querySelector(".cal-refusal").textContent = answer.sentence;
  const there = (slot) => ({ start: slot.start, resource_id: slot.resource_id, ...(wanted.end ? { end: slot.ends_at } : {}) });
  showFree(dialog, answer, (slot) => move(visit, { ...wanted, ...there(slot), override_reason: "" }, title));
  why.hidden = !answer.may_override;
  why.querySelector("input").disabled = !answer.may_override;
  find("cal-anyway").onsubmit = (submitted) => {
    submitted.preventDefault();
    move(visit, { ...wanted, override_reason: why.querySelector("input").value.trim() }, title);
  };
  if (!dialog.open) {
    why.querySelector("input").value = "";
    dialog.showModal();
  }
  if (answer.may_override) why.querySelector("input").focus();
}

function showFree(dialog, answer, take) {
  const free = dialog.querySelector(".cal-free");
  free.replaceChildren();
  if (!answer.next_free?.length) return;
  free.append(make("span", "Free next:"));
  for (const slot of answer.next_free) {
    const button = make("button", `${slot.words}, ${slot.resource}`, { type: "button", className: "btn btn-sm" });
    button.addEventListener("click", () => take(slot));
    free.append(button);
  }
}

function put(visit) {
  calendar.removeEventById(String(visit.id));
  if (isWanted(visit)) calendar.addEvent(eventOf(visit));
}

// One visit, and what can be done to it.

async function open(number) {
  const answer = await ask(`visit/${number}`);
  if (answer.is_refused) return say(answer.sentence);
  const dialog = find("cal-visit");
  const { visit } = answer;
  find("cal-visit-title").textContent = `${visit.customer}, ${visit.service}`;
  dialog.querySelector(".cal-dialog-when").textContent = `${answer.when} (${visit.times}), ${visit.resource}. ${visit.words}.`;
  dialog.querySelector(".cal-refusal").hidden = true;
  find("cal-reason").value = "";
  dialog.querySelector("[data-page-link]").href = board.dataset.page.replace(/0$/, visit.id);
  dialog.querySelector("[data-edit-link]").href = board.dataset.edit.replace(/0$/, visit.id);
  dialog.querySelector("[data-edit-link]").hidden = !mayChange;
  find("cal-deed").hidden = !answer.acts.length;
  dialog.querySelector(".bk-acts").replaceChildren(...answer.acts.map((act) => buttonOf(act, visit)), ...answer.acts.filter((act) => act.refusal).map((act) => make("p", act.refusal, { id: `cal-why-${act.name}` })));
  if (!dialog.open) dialog.showModal();
}

function buttonOf(act, visit) {
  const button = make("button", act.label, { type: "button", className: "btn", title: act.question });
  if (act.refusal) {
    button.setAttribute("aria-disabled", "true");
    button.setAttribute("aria-describedby", `cal-why-${act.name}`);
    return button;
  }
  button.addEventListener("click", async () => {
    const answer = await ask(`act/${visit.id}`, { version: visit.version, act: act.name, reason: find("cal-reason").value });
    if (answer.is_refused) {
      const refusal = find("cal-visit").querySelector(".cal-refusal");
      refusal.textContent = answer.sentence;
      refusal.hidden = false;
      return;
    }
    find("cal-visit").close();
    put(answer.visit);
    say(`${answer.visit.customer}, ${answer.visit.service}: ${answer.visit.words}.`, true);
  });
  return button;
}

// A new booking.

const booking = find("cal-booking");
let person = null;

function offer(resource, service) {
  const fields = booking.elements;
  const served = offers.filter((one) => !resource || one.resource_ids.includes(+resource));
  fields.service_id.replaceChildren(...served.map((one) => make("option", `${one.title} · ${one.duration_minutes} min`, { value: one.id })));
  if (served.some((one) => one.id === +service)) fields.service_id.value = service;
  fields.resource_id.replaceChildren(make("option", "Any that is free", { value: "" }), ...places.map((one) => make("option", one.name, { value: one.id })));
  fields.resource_id.value = resource || "";
}

function askForBooking(start, resource) {
  booking.reset();
  person = null;
  offer(resource || filters.elements.resource.value, filters.elements.service.value);
  booking.elements.start.value = start;
  showNewcomer();
  tellOfBooking({});
  find("cal-book").showModal();
  find("cal-person").focus();
}

function tellOfBooking(answer) {
  const dialog = find("cal-book");
  const refusal = dialog.querySelector(".cal-refusal");
  refusal.textContent = answer.sentence ?? "";
  refusal.hidden = !answer.sentence;
  showFree(dialog, answer, (slot) => {
    booking.elements.start.value = slot.start.slice(0, 16);
    if (booking.elements.resource_id.value) booking.elements.resource_id.value = slot.resource_id;
    booking.elements.override_reason.value = "";
    booking.requestSubmit();
  });
  dialog.querySelector(".cal-why").hidden = !answer.may_override;
  if (!answer.may_override) booking.elements.override_reason.value = "";
  else booking.elements.override_reason.focus();
}

function showNewcomer() {
  const isNew = booking.elements.is_new?.checked ?? false;
  const newcomer = booking.querySelector(".cal-newcomer");
  if (newcomer) newcomer.hidden = !isNew;
  booking.querySelector(".cal-known").hidden = isNew;
  for (const name of ["name", "email"]) if (booking.elements[name]) booking.elements[name].required = isNew;
}

async function book(submitted) {
  submitted.preventDefault();
  const fields = booking.elements;
  const isNew = fields.is_new?.checked;
  const answer = await ask("book", {
    service_id: +fields.service_id.value,
    start: fields.start.value,
    resource_id: +fields.resource_id.value || null,
    is_hold: fields.is_hold.checked,
    override_reason: fields.override_reason.value,
    ...(isNew ? { newcomer: { name: fields.name.value, email: fields.email.value } } : { user_id: person }),
  });
  if (answer.is_refused) return tellOfBooking(answer);
  find("cal-book").close();
  put(answer.visit);
  say(answer.warning || `Booked: ${answer.visit.customer}, ${answer.visit.service}, ${answer.visit.times}.`, !answer.warning);
}

// Looking somebody up.

const typed = find("cal-person");
const people = find("cal-people");
let waits;
let marked = -1;

function mark(at) {
  marked = at;
  [...people.children].forEach((option, each) => option.setAttribute("aria-selected", String(each === at)));
  if (people.children[at]) typed.setAttribute("aria-activedescendant", people.children[at].id);
  else typed.removeAttribute("aria-activedescendant");
}

function unfold(found) {
  people.replaceChildren(...found.map((one, at) => {
    const option = make("li", one.text, { id: `cal-person-${at}`, role: "option" });
    option.addEventListener("mousedown", (pressed) => { pressed.preventDefault(); take(one); });
    option.take = () => take(one);
    return option;
  }));
  people.hidden = !found.length;
  typed.setAttribute("aria-expanded", String(found.length > 0));
  mark(found.length ? 0 : -1);
}

function take(one) {
  person = +one.id;
  typed.value = one.text;
  unfold([]);
}

async function lookUp() {
  const term = typed.value.trim();
  if (!term) return unfold([]);
  const answer = await fetch(`${board.dataset.people}?${new URLSearchParams({ name: "user", term })}`);
  if (typed.value.trim() === term && answer.ok && answer.headers.get("Content-Type")?.includes("json")) unfold((await answer.json()).results);
}

if (booking) {
  typed.addEventListener("input", () => { person = null; clearTimeout(waits); waits = setTimeout(lookUp, 150); });
  typed.addEventListener("blur", () => unfold([]));
  typed.addEventListener("keydown", (pressed) => {
    if (people.hidden) return;
    const step = { ArrowDown: 1, ArrowUp: -1 }[pressed.key];
    if (step) mark((marked + step + people.children.length) % people.children.length);
    else if (pressed.key === "Enter") people.children[marked]?.take();
    else if (pressed.key === "Escape") unfold([]);
    else return;
    pressed.preventDefault();
  });
  booking.addEventListener("submit", book);
  booking.elements.is_new?.addEventListener("change", showNewcomer);
  booking.elements.resource_id.addEventListener("change", () => offer(booking.elements.resource_id.value, booking.elements.service_id.value));
  find("cal-new").addEventListener("click", () => askForBooking(`${dayShown()}T09:00`, ""));
}
for (const button of document.querySelectorAll("dialog [data-close]")) button.addEventListener("click", () => button.closest("dialog").close());

// The calendar itself.

const shownDay = (date) => `${date.getFullYear()}-${String(date.getMonth() + 1).padStart(2, "0")}-${String(date.getDate()).padStart(2, "0")}`;
const dayShown = () => shownDay(calendar.getOption("date"));
const columns = () => places.filter((one) => !chosen().resource || one.id === +chosen().resource).map((one) => ({ id: String(one.id), title: one.name }));
const first = {
  view: VIEWS[address.get("view")] ?? VIEWS.day,
  date: /^\d{4}-\d\d-\d\d$/.test(address.get("date") ?? "") ? address.get("date") : board.dataset.now.slice(0, 10),
};
const clock = { hour: "2-digit", minute: "2-digit", hourCycle: "h23" };
let calendar;
calendar = EventCalendar.create(board, {
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
  eventDidMount: ({ el, event }) => { // What is too narrow to be read is still told.
    const { visit } = event.extendedProps;
    if (visit) el.title = `${visit.times}, ${visit.customer}, ${visit.service}, ${visit.resource}. ${visit.words}.`;
  },
  noEventsContent: "Nothing is booked.",
  views: {
    resourceTimeGridDay: { columnWidth: isPhone() ? undefined : "minmax(7rem, 1fr)" },
    dayGridMonth: { eventDurationEditable: false }, // there, an edge is a day
  },
});

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

// What changes elsewhere.

const live = find("cal-live");
const tellLive = (words, isLive) => { live.textContent = words; live.classList.toggle("is-live", isLive); };
let silence;
const source = new EventSource(`${place}/stream`);
const heard = () => { clearTimeout(silence); silence = undefined; tellLive("Live", true); };
source.addEventListener("open", heard);
source.addEventListener("begin", () => calendar.refetchEvents()); // whatever changed before one listened
source.addEventListener("news", (message) => {
  heard();
  const news = JSON.parse(message.data);
  news.gone.forEach((number) => calendar.removeEventById(String(number)));
  news.visits.forEach(put);
  if (news.is_all_new) calendar.refetchEvents();
});
source.addEventListener("error", () => {
  if (source.readyState === EventSource.CLOSED) tellLive("Not live: load the page again", false);
  else silence ??= setTimeout(() => tellLive("Reconnecting…", false), 4000); // It comes back by itself every minute.
});
window.addEventListener("pagehide", () => source.close());

setInterval(() => { // Holds run out by themselves.
  for (const { extendedProps: { visit } } of calendar.getEvents()) if (visit && !isWanted(visit)) calendar.removeEventById(String(visit.id));
}, 10000);
