"use strict";

// The live section is loaded again when anything changes, and every minute, since time passes too.
const section = document.querySelector("[data-bk-live-section]");
const [liveStatus, announcer] = ["[data-bk-live]", "[data-bk-announcer]"].map((selector) => document.querySelector(selector));
const setText = (node, text) => { if (node.textContent !== text) node.textContent = text; };
const showLiveStatus = (text, isLive) => { setText(liveStatus, text); liveStatus.toggleAttribute("data-live", isLive); };
const cardTitles = () => [...section.querySelectorAll("h3")].map((title) => title.innerText.trim());

// A node that stays keeps its element, so that nothing flickers, closes or loses the focus. A card is matched by its
// title and a row by its link; any other node by its position.
const key = (node) => node.getAttribute?.("aria-labelledby") ?? node.href ?? (node.nodeName === "LI" ? node.querySelector("a")?.href : undefined);
const isSame = (node, other) => node.nodeName === other.nodeName && key(node) === key(other);

function copyAttributes(target, source) {
  for (const name of target.getAttributeNames()) if (!source.hasAttribute(name) && !["open", "tabindex"].includes(name)) target.removeAttribute(name);
  for (const name of source.getAttributeNames()) if (target.getAttribute(name) !== source.getAttribute(name)) target.setAttribute(name, source.getAttribute(name));
}

function patchChildren(target, source) {
  let current = target.firstChild;
  const advance = () => { const passed = current; current = current.nextSibling; return passed; };
  const findMatch = (node) => {
    let candidate = current;
    if (key(node)) while (candidate && !isSame(candidate, node)) candidate = candidate.nextSibling;
    return candidate && isSame(candidate, node) ? candidate : null;
  };
  for (const node of [...source.childNodes]) {
    const match = findMatch(node);
    if (!match) { target.insertBefore(node, current); continue; }
    while (current !== match) advance().remove();
    advance();
    if (match.isEqualNode(node)) continue;
    if (match.nodeType === Node.ELEMENT_NODE) { copyAttributes(match, node); patchChildren(match, node); } else match.data = node.data;
  }
  while (current) advance().remove();
}

function replaceSection(html) {
  const titlesBefore = cardTitles();
  const focused = section.contains(document.activeElement) ? document.activeElement : null;
  const [cardId, href] = [focused?.closest("section")?.getAttribute("aria-labelledby"), focused?.href];
  patchChildren(section, new DOMParser().parseFromString(html, "text/html").body);
  if (focused && !focused.isConnected) { // The focused link moved or is gone: focus its new element, or its card.
    const [title, link] = [document.getElementById(cardId), [...section.querySelectorAll(`[aria-labelledby="${cardId}"] a`)].find((candidate) => candidate.href === href)];
    title?.setAttribute("tabindex", "-1");
    (link ?? title)?.focus({ preventScroll: true });
  }
  const changedTitles = cardTitles().filter((title) => !titlesBefore.includes(title));
  if (changedTitles.length) setText(announcer, changedTitles.join(", "));
}

let [refreshTimer, isLoading, isPressed] = [undefined, false, false];
const isInteracting = () => isPressed || (!getSelection().isCollapsed && section.contains(getSelection().anchorNode));
// A random delay, so that not all desks load at once.
const scheduleRefresh = (delay = 150 + Math.random() * 450) => { refreshTimer ??= setTimeout(refresh, delay); };

async function refresh() {
  refreshTimer = undefined;
  if (document.hidden) return;
  if (isLoading || isInteracting()) { scheduleRefresh(1000); return; }
  isLoading = true;
  // A failed request is ignored: the stream reports a lost server, and sends missed changes when it is back.
  const [status, html] = await fetch(section.dataset.bkLiveSection).then(async (response) => [response.status, await response.text()]).catch(() => []);
  isLoading = false;
  if (status === 401) disconnect();
  if (status !== 200) return;
  if (isInteracting()) scheduleRefresh(1000); else replaceSection(html);
}

const RETRY_MS = 5000; // after a refusal, such as 503 while the database is away
let source;
let reconnectTimer;
const disconnect = () => { source.close(); showLiveStatus("Not live. Please reload the page.", false); };
function connect() {
  source = new EventSource(section.dataset.stream);
  source.addEventListener("open", () => { clearTimeout(reconnectTimer); reconnectTimer = undefined; showLiveStatus("Live", true); });
  for (const name of ["start", "changes"]) source.addEventListener(name, () => scheduleRefresh());
  source.addEventListener("error", () => {
    if (source.readyState === EventSource.CLOSED) {
      disconnect();
      setTimeout(connect, RETRY_MS);
    } else reconnectTimer ??= setTimeout(() => showLiveStatus("Reconnecting…", false), 4000); // It reconnects by itself every minute.
  });
}

connect();
setInterval(scheduleRefresh, 60000);
document.addEventListener("visibilitychange", () => scheduleRefresh(0));
section.addEventListener("pointerdown", () => { isPressed = true; });
for (const name of ["pointerup", "pointercancel"]) window.addEventListener(name, () => { isPressed = false; });
window.addEventListener("pagehide", () => source.close());
window.addEventListener("pageshow", (event) => { if (event.persisted) connect(); });
