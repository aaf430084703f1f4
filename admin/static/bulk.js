"use strict";

// Of a list, the ticked rows are changed; with none ticked, all that the list shows.
document.querySelector("[data-bk-bulk]")?.addEventListener("click", (event) => {
  const boxes = [...document.querySelectorAll("input.select-box:checked")];
  const numbers = boxes.map((box) => box.parentElement.querySelector("input[type=hidden]").value);
  if (numbers.length) event.currentTarget.search = `?pks=${numbers.join(",")}`;
});

// Only what belongs to the chosen act is asked for.
const what = document.querySelector("#what");
const ask = () => {
  for (const part of document.querySelectorAll("[data-bk-for]")) part.hidden = !part.dataset.bkFor.split(" ").includes(what.value);
};
if (what) { ask(); what.addEventListener("change", ask); }
