"use strict";

// No search worker and no fonts: Redoc would load both from other origins.
window.Redoc.init(
  "/openapi.json",
  { disableSearch: true, hideDownloadButton: false, theme: { typography: { fontFamily: "sans-serif", headings: { fontFamily: "sans-serif" } } } },
  document.getElementById("docs"),
);
