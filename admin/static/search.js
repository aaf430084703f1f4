"use strict";

// The slash key focuses the search box, except while the user types.
document.addEventListener("keydown", (event) => {
  const box = document.querySelector("#bk-search");
  const isTyping = event.target.closest?.("input, textarea, select, [contenteditable], .modal.show");
  if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey || isTyping || !box) return;
  event.preventDefault();
  box.focus();
  box.select();
});
