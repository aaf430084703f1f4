// The calendar as it is drawn: whoever changes what is on it asks for that here.
import { ask } from "./asking.js";
import { chosen, first, say } from "./page.js";
import { eventOf, isWanted, shades } from "./visits.js";

export let calendar;
export function show(drawn) {
  calendar = drawn;
}

export const shownDay = (date) => `${date.getFullYear()}-${String(date.getMonth() + 1).padStart(2, "0")}-${String(date.getDate()).padStart(2, "0")}`;
export const dayShown = () => shownDay(calendar.getOption("date"));

let asked = 0;
export async function load(range, give) {
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

export function put(visit) {
  calendar.removeEventById(String(visit.id));
  if (isWanted(visit)) calendar.addEvent(eventOf(visit));
}
