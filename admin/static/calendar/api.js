// Requests to the server.
import { baseUrl } from "./page.js";

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
