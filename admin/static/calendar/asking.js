// Asking the server.
import { place } from "./page.js";

export async function ask(path, sent) {
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
