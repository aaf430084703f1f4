"use strict";

// Set before the page is drawn: the saved theme, or the system's.
const savedTheme = localStorage.getItem("bookit-theme");
const prefersDark = window.matchMedia("(prefers-color-scheme: dark)").matches;
document.documentElement.dataset.bsTheme = savedTheme ?? (prefersDark ? "dark" : "light");
