// Live reload, in development only: the page follows the site's process, its templates and its styles.
"use strict";
(() => {
  const page = { id: document.currentScript.dataset.id, version: Number(document.currentScript.dataset.version) };
  // A frame follows the page around it.
  if (window.top !== window) return;

  function reload(id, version) {
    // Whatever the reason why the page comes back as it was: not again and again.
    const now = `${id}/${version}`;
    if (sessionStorage.getItem("purlin-live") === now) return;
    sessionStorage.setItem("purlin-live", now);
    location.reload();
  }

  // The new style is there before the old one goes: the page never stands without.
  function styles(version) {
    for (const old of document.querySelectorAll('link[rel~="stylesheet"][href]')) {
      const url = new URL(old.href);
      if (url.origin !== location.origin || old.dataset.live === "old") continue;
      url.searchParams.set("live", version);
      const link = old.cloneNode();
      link.href = url;
      link.removeAttribute("integrity");
      old.dataset.live = "old";
      link.onload = () => old.remove();
      link.onerror = () => {
        link.remove();
        delete old.dataset.live;
      };
      delete link.dataset.live;
      old.after(link);
    }
  }

  function hear({ kind, id, version }) {
    if (kind === "hello" && id !== page.id) return reload(id, version);
    if (!(version > page.version)) return;
    if (kind === "styles") {
      page.version = version;
      styles(version);
    } else {
      reload(page.id, version);
    }
  }

  // A browser opens six connections to a site over HTTP/1.1, in all its tabs: one tab listens, and tells the others.
  const channel = "BroadcastChannel" in window ? new BroadcastChannel("purlin-live") : null;
  let current = null;
  function listen() {
    const source = new EventSource("/_purlin/live");
    const tell = (kind) => (event) => {
      if (kind === "hello") current = { kind, id: event.data, version: Number(event.lastEventId) };
      else if (current) current.version = Number(event.lastEventId);
      const news = { kind, id: current?.id, version: Number(event.lastEventId) };
      channel?.postMessage(news);
      hear(news);
    };
    for (const kind of ["hello", "styles", "reload"]) source.addEventListener(kind, tell(kind));
    addEventListener("pagehide", () => source.close());
    addEventListener("pageshow", (event) => event.persisted && location.reload());
  }
  if (channel) {
    channel.onmessage = ({ data }) => {
      if (data.kind !== "who") hear(data);
      else if (current) channel.postMessage(current);
    };
    channel.postMessage({ kind: "who" });
  }
  if (channel && navigator.locks) navigator.locks.request("purlin-live", () => new Promise(listen));
  else listen();
})();
