// Changes made elsewhere, from the server's event stream.
import { matchesFilters } from "./events.js";
import { baseUrl, byId } from "./page.js";
import { calendar, removeVisit, updateVisit } from "./view.js";

const liveStatus = byId("cal-live");
const showLiveStatus = (text, isLive) => { liveStatus.textContent = text; liveStatus.toggleAttribute("data-live", isLive); };
const RETRY_MS = 5000; // after a refusal, such as 503 while the database is away
let [source, reconnectTimer] = [];
const markLive = () => { clearTimeout(reconnectTimer); reconnectTimer = undefined; showLiveStatus("Live", true); };

function openStream() {
  source = new EventSource(`${baseUrl}/stream`);
  source.addEventListener("open", markLive);
  source.addEventListener("start", () => calendar.refetchEvents()); // Includes changes from before the connection.
  source.addEventListener("changes", (message) => {
    markLive();
    const changes = JSON.parse(message.data);
    changes.deleted.forEach(removeVisit);
    changes.visits.forEach(updateVisit);
    const columns = calendar.getOption("resources").map((resource) => +resource.id);
    const lacksColumn = changes.visits.some((visit) => matchesFilters(visit) && !visit.resource_ids.some((id) => columns.includes(id)));
    if (changes.is_reload_needed || lacksColumn) calendar.refetchEvents();
  });
  source.addEventListener("error", () => {
    if (source.readyState === EventSource.CLOSED) {
      showLiveStatus("Not live. Please reload the page.", false);
      setTimeout(openStream, RETRY_MS);
    } else reconnectTimer ??= setTimeout(() => showLiveStatus("Reconnecting…", false), 4000); // It reconnects by itself every minute.
  });
}

export function connect() {
  openStream();
  window.addEventListener("pagehide", () => source.close());

  setInterval(() => { // Holds expire without an event.
    for (const { extendedProps: { visit } } of calendar.getEvents()) if (visit && !matchesFilters(visit)) removeVisit(visit.id);
  }, 10000);
}
