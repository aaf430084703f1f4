"use strict";

// The lists are those of this moment: asked for again when anything changes, and each minute, for time passes too.
const present = document.querySelector("[data-bk-now]");
const [live, told] = ["[data-bk-live]", "[data-bk-told]"].map((wanted) => document.querySelector(wanted));
const say = (place, words) => { if (place.textContent !== words) place.textContent = words; };
const tellLive = (words, isLive) => { say(live, words); live.toggleAttribute("data-live", isLive); };
const titles = () => [...present.querySelectorAll("h3")].map((head) => head.innerText.trim());

// Whatever is the same stays the very same element, so that nothing flickers, closes or loses the focus. A card goes by
// its name and a row by where it leads; anything else is the same where it stands in the same place.
const key = (node) => node.getAttribute?.("aria-labelledby") ?? node.href ?? (node.nodeName === "LI" ? node.querySelector("a")?.href : undefined);
const isSame = (one, other) => one.nodeName === other.nodeName && key(one) === key(other);

function follow(old, fresh) {
  for (const name of old.getAttributeNames()) if (!fresh.hasAttribute(name) && !["open", "tabindex"].includes(name)) old.removeAttribute(name);
  for (const name of fresh.getAttributeNames()) if (old.getAttribute(name) !== fresh.getAttribute(name)) old.setAttribute(name, fresh.getAttribute(name));
}

function renew(old, fresh) {
  let at = old.firstChild;
  const next = () => { const passed = at; at = at.nextSibling; return passed; };
  const found = (wanted) => {
    let one = at;
    if (key(wanted)) while (one && !isSame(one, wanted)) one = one.nextSibling;
    return one && isSame(one, wanted) ? one : null;
  };
  for (const node of [...fresh.childNodes]) {
    const same = found(node);
    if (!same) { old.insertBefore(node, at); continue; }
    while (at !== same) next().remove();
    next();
    if (same.isEqualNode(node)) continue;
    if (same.nodeType === Node.ELEMENT_NODE) { follow(same, node); renew(same, node); } else same.data = node.data;
  }
  while (at) next().remove();
}

function show(html) {
  const before = titles();
  const focused = present.contains(document.activeElement) ? document.activeElement : null;
  const [card, address] = [focused?.closest("section")?.getAttribute("aria-labelledby"), focused?.href];
  renew(present, new DOMParser().parseFromString(html, "text/html").body);
  if (focused && !focused.isConnected) { // What one stood on has moved, or is gone: one stays where it was.
    const [head, moved] = [document.getElementById(card), [...present.querySelectorAll(`[aria-labelledby="${card}"] a`)].find((link) => link.href === address)];
    head?.setAttribute("tabindex", "-1");
    (moved ?? head)?.focus({ preventScroll: true });
  }
  const changed = titles().filter((head) => !before.includes(head));
  if (changed.length) say(told, changed.join(", "));
}

let [waiting, isAsking, isPressed] = [undefined, false, false];
const isAtWork = () => isPressed || (!getSelection().isCollapsed && present.contains(getSelection().anchorNode));
// Not all desks at once.
const soon = (wait = 150 + Math.random() * 450) => { waiting ??= setTimeout(ask, wait); };

async function ask() {
  waiting = undefined;
  if (document.hidden) return;
  if (isAsking || isAtWork()) { soon(1000); return; }
  isAsking = true;
  // The stream says when the server is away; what was missed comes when it is back.
  const [status, html] = await fetch(present.dataset.bkNow).then(async (answer) => [answer.status, await answer.text()]).catch(() => []);
  isAsking = false;
  if (status === 401) leave();
  if (status !== 200) return;
  if (isAtWork()) soon(1000); else show(html);
}

let source;
let silence;
const leave = () => { source.close(); tellLive("Not live: load the page again", false); };
function listen() {
  source = new EventSource(present.dataset.stream);
  source.addEventListener("open", () => { clearTimeout(silence); silence = undefined; tellLive("Live", true); });
  for (const name of ["begin", "news"]) source.addEventListener(name, () => soon());
  source.addEventListener("error", () => {
    if (source.readyState === EventSource.CLOSED) leave();
    else silence ??= setTimeout(() => tellLive("Reconnecting…", false), 4000); // It comes back by itself every minute.
  });
}

listen();
setInterval(soon, 60000);
document.addEventListener("visibilitychange", () => soon(0));
present.addEventListener("pointerdown", () => { isPressed = true; });
for (const name of ["pointerup", "pointercancel"]) window.addEventListener(name, () => { isPressed = false; });
window.addEventListener("pagehide", () => source.close());
window.addEventListener("pageshow", (event) => { if (event.persisted) listen(); });
