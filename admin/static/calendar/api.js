// Requests to the server.
import { baseUrl } from "./page.js";

// A key for one act. The server runs the act once, however often it is sent.
export const newKey = () => [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");

export async function callServer(path, body) {
  const options = body === undefined ? {} : { method: "POST", body: JSON.stringify(body), headers: { "Content-Type": "application/json" } };
  let response;
  try {
    response = await fetch(`${baseUrl}/${path}`, options);
  } catch {
    return { message: "Cannot reach BookIt. Please try again.", is_refused: true };
  }
  if (response.status === 401) location.reload(); // The sign-in page comes first, then this page again.
  const payload = response.headers.get("Content-Type")?.includes("json") ? await response.json() : {};
  if (response.ok) return payload;
  return { message: "That did not work. Please reload the page.", ...payload, status: response.status, is_refused: true };
}

// Run a task once at a time for these buttons: they are disabled while it runs, and the pressed one says what happens.
export async function whileBusy(buttons, pressed, label, task) {
  if (buttons.some((button) => button.disabled)) return;
  const { textContent } = pressed;
  const hadFocus = document.activeElement === pressed;
  for (const button of buttons) button.disabled = true;
  pressed.setAttribute("aria-busy", "true");
  pressed.textContent = label;
  try {
    await task();
  } finally {
    for (const button of buttons) button.disabled = false;
    pressed.removeAttribute("aria-busy");
    pressed.textContent = textContent;
    if (hadFocus && pressed.isConnected && document.activeElement === document.body) pressed.focus();
  }
}
