// While the page is served: ask for a newer one. It is loaded at once, unless somebody has opened or chosen something.
"use strict";
(() => {
  const bar = document.getElementById("live"), version = bar.dataset.version, said = document.getElementById("live-said");
  const isUsed = () => document.querySelector('details[open], [aria-expanded="true"]') !== null || [...document.querySelectorAll("#filters input")].some((one) => one.value);
  const look = async () => {
    try {
      const answer = await fetch("version", { cache: "no-store" });
      if (!answer.ok) throw new Error(String(answer.status));
      if ((await answer.text()) !== version) {
        if (!isUsed()) return location.reload();
        said.textContent = "There is something new. ";
        document.getElementById("live-load").hidden = false;
      }
    } catch {
      said.textContent = "The command that serves this page has ended; this is its last state.";
    }
    setTimeout(look, 2000);
  };
  document.getElementById("live-load").addEventListener("click", () => location.reload());
  setTimeout(look, 2000);
})();
