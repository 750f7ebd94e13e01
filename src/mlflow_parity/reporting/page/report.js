"use strict";
(() => {
  const tools = document.getElementById("tools");
  if (!tools) return;
  const words = document.getElementById("search");
  const state = document.getElementById("state");
  const told = document.getElementById("told");
  const hits = Array.from(document.querySelectorAll(".hit"));
  const holders = Array.from(document.querySelectorAll(".holds"));
  const folds = Array.from(document.querySelectorAll("main details"));
  const asShipped = folds.map((fold) => fold.open);
  let texts = null;
  let waiting = 0;

  const filter = () => {
    const wanted = words.value.toLowerCase().split(/\s+/).filter(Boolean);
    const only = state.value;
    const all = !wanted.length && !only;
    texts = texts || hits.map((hit) => {
      const holder = hit.closest(".holds");
      const title = holder && holder.querySelector("h4");
      return ((title ? title.textContent + " " : "") + hit.textContent).toLowerCase();
    });
    let shown = 0;
    hits.forEach((hit, number) => {
      const fits = wanted.every((word) => texts[number].includes(word)) && (!only || hit.querySelector(".s." + only) !== null);
      hit.hidden = !fits;
      shown += fits ? 1 : 0;
    });
    holders.forEach((holder) => { holder.hidden = !all && !holder.querySelector(".hit:not([hidden])"); });
    // what was found is not to be folded away; without a search all is as it was
    if (all) folds.forEach((fold, number) => { fold.open = asShipped[number]; });
    else if (shown <= 500) folds.forEach((fold) => {
      if (fold.matches(".hit:not([hidden])") || fold.querySelector(".hit:not([hidden])")) fold.open = true;
    });
    told.textContent = all ? "" : shown.toLocaleString("en") + " of " + hits.length.toLocaleString("en") + " entries shown";
  };
  const soon = () => { clearTimeout(waiting); waiting = setTimeout(filter, 120); };

  words.addEventListener("input", soon);
  state.addEventListener("change", filter);
  document.getElementById("unfold").addEventListener("click", () => folds.forEach((fold) => { fold.open = true; }));
  document.getElementById("fold").addEventListener("click", () => folds.forEach((fold) => { fold.open = false; }));
  tools.hidden = false;
})();
