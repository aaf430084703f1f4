"use strict";

// Before the page is drawn: the theme chosen last, or the system's.
const chosen = localStorage.getItem("bookit-theme");
const dark = window.matchMedia("(prefers-color-scheme: dark)").matches;
document.documentElement.dataset.bsTheme = chosen ?? (dark ? "dark" : "light");
