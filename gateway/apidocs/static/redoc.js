"use strict";

Redoc.init(
  "openapi.json",
  { sanitize: true, hideDownloadButtons: false, requiredPropsFirst: true },
  document.getElementById("page"),
);
