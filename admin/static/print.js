/* Prints the page. */
"use strict";
document.querySelectorAll("[data-bk-print]").forEach((button) => button.addEventListener("click", () => window.print()));
