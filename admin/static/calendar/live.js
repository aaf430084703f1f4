// What changes elsewhere.
import { find, place } from "./page.js";
import { calendar, put } from "./shown.js";
import { isWanted } from "./visits.js";

const live = find("cal-live");
const tellLive = (words, isLive) => { live.textContent = words; live.toggleAttribute("data-live", isLive); };
let silence;
const heard = () => { clearTimeout(silence); silence = undefined; tellLive("Live", true); };

export function listen() {
  const source = new EventSource(`${place}/stream`);
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
}
