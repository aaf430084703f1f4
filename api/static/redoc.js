"use strict";

// No search worker and no fonts: both would be fetched from somewhere else.
window.Redoc.init(
  "/openapi.json",
  { disableSearch: true, hideDownloadButton: false, theme: { typography: { fontFamily: "sans-serif", headings: { fontFamily: "sans-serif" } } } },
  document.getElementById("docs"),
);
