// Light or dark before the first paint: a plain script in the head. What the system prefers holds until somebody chooses.
(() => {
  let chosen = null;
  try {
    chosen = localStorage.getItem("fleetgate-theme");
  } catch {
    // A browser that keeps nothing follows the system.
  }
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
})();
