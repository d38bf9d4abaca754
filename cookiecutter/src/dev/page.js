
"use strict";
const page = document.documentElement.dataset;
const at = (id) => document.getElementById(id);
// An answer to a form is not asked for with the form again.
const renew = () => page.renew === "get" ? location.replace(location.href) : location.reload();
const watch = () => {
  const live = new EventSource("/_purlin/live?page=" + page.page);
  live.addEventListener("hello", (event) => {
    if (event.data !== page.page) { live.close(); renew(); }
  });
  live.addEventListener("progress", (event) => {
    const { done, all, count, now } = JSON.parse(event.data);
    if (at("status")) at("status").textContent = at("status").dataset.busy;
    if (!at("bar")) return;
    at("now").textContent = now;
    at("count").textContent = count;
    if (all) { at("bar").max = all; at("bar").value = done; }
  });
  // The browser asks again by itself, unless it was refused.
  live.addEventListener("error", () => { if (live.readyState === 2) setTimeout(watch, 1000); });
};
watch();
if (at("status")) at("status").textContent = at("status").dataset.idle;
if (at("elapsed")) {
  const since = Date.now() - 1000 * at("elapsed").dataset.since;
  const tick = () => {
    const whole = Math.round((Date.now() - since) / 1000);
    at("elapsed").textContent = whole < 60 ? `${whole} s` : `${Math.floor(whole / 60)} min ${whole % 60} s`;
  };
  tick();
  setInterval(tick, 1000);
}
