// A plain script at the head of the page, before anything else: light or dark before the first paint (what the system prefers holds until
// somebody chooses), and the first question to the server, which is answered while the rest is loaded.
(() => {
  let chosen = null;
  try {
    chosen = localStorage.getItem("fleetgate-theme");
  } catch {
    // A browser that keeps nothing follows the system.
  }
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
  globalThis.fleetgateSession = fetch("/api/v1/session", { credentials: "same-origin" }).catch(() => null);
})();
