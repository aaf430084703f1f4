"use strict";

// The ticked rows of a list are changed, or all rows of the list if none is ticked.
document.querySelector("[data-bk-bulk]")?.addEventListener("click", (event) => {
  const boxes = [...document.querySelectorAll("input.select-box:checked")];
  const ids = boxes.map((box) => box.parentElement.querySelector("input[type=hidden]").value);
  if (ids.length) event.currentTarget.search = `?pks=${ids.join(",")}`;
});

// Only the fields of the chosen action are shown.
const action = document.querySelector("#bulk_action");
const showFields = () => {
  for (const field of document.querySelectorAll("[data-bk-for]")) field.hidden = !field.dataset.bkFor.split(" ").includes(action.value);
};
if (action) { showFields(); action.addEventListener("change", showFields); }
