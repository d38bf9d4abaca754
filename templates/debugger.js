"use strict";
// Makes the page one to work in. Everything it shows goes through `textContent`: values are whatever somebody sent.
(() => {
  const { content: token, dataset: { id, path } } = document.querySelector("meta[name=purlin-debugger]");
  if (!token) return;

  const call = async (what, body) => {
    try {
      const answer = await fetch(`${path}/${id}/${what}`, {
        method: "POST",
        headers: { "content-type": "application/json", "x-purlin-debugger-token": token },
        body: JSON.stringify(body),
      });
      return answer.ok ? await answer.json() : { error: (await answer.text()).trim() };
    } catch {
      return { error: "the site does not answer" };
    }
  };

  // The browser may forbid storage: then nothing is remembered.
  const kept = (key) => {
    try { return JSON.parse(localStorage.getItem(`purlin.${key}`)); } catch { return null; }
  };
  const keep = (key, value) => {
    try { localStorage.setItem(`purlin.${key}`, JSON.stringify(value)); } catch {}
  };

  const element = (name, className, ...inside) => {
    const made = document.createElement(name);
    if (className) made.className = className;
    made.append(...inside);
    return made;
  };

  // A value, as the server writes it too.
  const head = (value) => {
    const shown = element("span", "value", value.text);
    const type = element("span", "type", value.type ? `: ${value.type}` : "");
    const parts = value.name ? [element("span", "name", value.name), type, " = ", shown] : [shown, type];
    if (value.argument) parts.unshift(element("small", "", "argument "));
    if (value.note) parts.push(" ", element("em", "", value.note));
    return parts;
  };
  const item = (value, frame, text) => {
    if (!value.count) return element("li", "", ...head(value));
    const list = element("ul", "", ...value.children.map((child) => item(child, frame, text)));
    const details = element("details", "", element("summary", "", ...head(value)), list);
    Object.assign(details.dataset, { path: value.path.join("."), count: value.count, listed: value.children.length });
    lazy(details, frame, text);
    return element("li", "", details);
  };

  // Children come when they are asked for.
  const lazy = (details, frame, text = "") => {
    const list = details.lastElementChild;
    const more = async () => {
      const path = details.dataset.path.split(".").filter((step) => step).map(Number);
      const { value, error } = await call("open", { frame, text, path, from: Number(details.dataset.listed) });
      details.querySelector(":scope > .more")?.remove();
      if (error) return list.append(element("li", "error", error));
      list.append(...value.children.map((child) => item(child, frame, text)));
      details.dataset.listed = Number(details.dataset.listed) + value.children.length;
      if (value.children.length) rest();
    };
    const rest = () => {
      const left = Number(details.dataset.count) - Number(details.dataset.listed);
      if (left <= 0) return;
      const button = element("button", "more", `${left} more`);
      button.type = "button";
      button.addEventListener("click", more);
      details.append(button);
    };
    if (Number(details.dataset.listed)) rest();
    else details.addEventListener("toggle", () => details.open && Number(details.dataset.listed) === 0 && more(), { once: true });
  };

  for (const box of document.querySelectorAll(".variables:not([data-lazy])")) {
    for (const details of box.querySelectorAll("details[data-path]")) lazy(details, Number(box.dataset.frame));
  }

  // Frames of others.
  for (const box of document.querySelectorAll(".variables[data-lazy]")) {
    const frame = Number(box.dataset.frame);
    box.closest("details").addEventListener("toggle", async () => {
      const { variables, error } = await call("variables", { frame });
      const list = element("ul", "", ...(variables?.values ?? []).map((value) => item(value, frame)));
      const why = error ?? variables.lack ?? (variables.values.length ? "" : "No variables here.");
      box.replaceChildren(element("h3", "", "Variables"), list);
      if (why) box.append(element("p", "text", why));
      if (variables?.advice) box.append(element("pre", "paste", variables.advice));
    }, { once: true });
  }

  const unfold = document.getElementById("unfold");
  if (unfold) {
    const folded = [...document.querySelectorAll(".folded > details")];
    const show = (all) => {
      for (const details of folded) details.open = all;
      unfold.setAttribute("aria-pressed", all);
      keep("unfolded", all);
    };
    unfold.hidden = folded.length === 0;
    show(kept("unfolded") === true);
    unfold.addEventListener("click", () => show(unfold.getAttribute("aria-pressed") !== "true"));
  }

  const copy = document.getElementById("copy");
  if (copy && navigator.clipboard) {
    copy.hidden = false;
    copy.addEventListener("click", async () => {
      const answer = await fetch(copy.dataset.from);
      await navigator.clipboard.writeText(await answer.text());
      copy.textContent = "Copied";
    });
  }

  // The prompt. Its history is one for all pages, the newest last; that about the site has its own, being of another language.
  const MOST = 200;
  for (const box of document.querySelectorAll(".prompt")) {
    const frame = Number(box.dataset.frame) || 0;
    const asked = box.dataset.frame === "site" ? "history.site" : "history";
    const [log, input, names] = [box.querySelector(".log"), box.querySelector("textarea"), box.querySelector(".names")];
    let at = null;
    let draft = "";
    // Whether Tab goes on to the next field, as anywhere: it has nothing more to complete.
    let leaves = false;
    box.hidden = false;

    const grow = () => {
      input.rows = Math.min(12, input.value.split("\n").length);
      names.hidden = true;
      leaves = false;
    };
    const put = (text) => {
      input.value = text;
      grow();
    };
    const back = (step) => {
      const history = kept(asked) ?? [];
      if (at === null) [at, draft] = [history.length, input.value];
      at = Math.max(0, Math.min(history.length, at + step));
      put(at === history.length ? draft : history[at]);
      if (at === history.length) at = null;
    };
    const ask = async () => {
      const text = input.value.trim();
      if (!text) return;
      const history = (kept(asked) ?? []).filter((line) => line !== text);
      keep(asked, [...history, text].slice(-MOST));
      at = null;
      put("");
      // Its place is taken at once: a later answer may be quicker.
      const place = element("li", "", "…");
      log.append(element("li", "asked", `> ${text}`), place);
      const { value, error } = await call("evaluate", { frame, text });
      place.replaceWith(error === undefined ? item(value, frame, text) : element("li", "error", error));
      input.scrollIntoView({ block: "nearest" });
    };
    const complete = async () => {
      const before = input.value.slice(0, input.selectionStart);
      const { names: found = [] } = await call("complete", { frame, text: before });
      const word = before.match(/[\p{L}\p{N}_]*$/u)[0];
      const insert = (name) => {
        const end = input.selectionStart;
        input.setRangeText(name, end - word.length, end, "end");
        grow();
        input.focus();
      };
      leaves = found.length === 0 || (found.length === 1 && found[0] === word);
      if (leaves) return;
      if (found.length === 1) return insert(found[0]);
      // As far as all of them agree.
      let common = found[0] ?? "";
      for (const name of found) while (!name.startsWith(common)) common = common.slice(0, -1);
      if (common.length > word.length) return insert(common);
      names.replaceChildren(...found.slice(0, 40).map((name) => {
        const button = element("button", "", name);
        button.type = "button";
        button.addEventListener("click", () => insert(name));
        return element("li", "", button);
      }));
      names.hidden = false;
    };

    input.addEventListener("input", grow);
    input.addEventListener("keydown", (event) => {
      const lines = input.value.split("\n").length;
      const line = input.value.slice(0, input.selectionStart).split("\n").length;
      if (event.key === "Enter" && !event.shiftKey && !event.isComposing) ask();
      else if (event.key === "ArrowUp" && line === 1) back(-1);
      else if (event.key === "ArrowDown" && line === lines && at !== null) back(1);
      else if (event.key === "l" && event.ctrlKey) log.replaceChildren();
      else if (event.key === "Tab" && !event.shiftKey && input.value && names.hidden && !leaves) complete();
      else if (event.key === "Escape") names.hidden = leaves = true;
      else return;
      event.preventDefault();
    });
  }

  const replay = document.querySelector("#replay form");
  if (replay) {
    replay.hidden = false;
    replay.addEventListener("submit", async (event) => {
      event.preventDefault();
      const { method, url, headers, body } = Object.fromEntries(new FormData(replay));
      const output = replay.querySelector("output");
      output.textContent = "…";
      try {
        const lines = headers.split("\n").filter((line) => line.includes(":"));
        const sent = lines.map((line) => [line.slice(0, line.indexOf(":")).trim(), line.slice(line.indexOf(":") + 1).trim()]);
        const answer = await fetch(new URL(url, location.origin), {
          method,
          headers: sent,
          body: /^(GET|HEAD)$/i.test(method) ? undefined : body,
          redirect: "manual",
        });
        const page = answer.headers.get("x-debug-url");
        const status = answer.type === "opaqueredirect" ? "a redirect" : `${answer.status} ${answer.statusText}`;
        output.replaceChildren(`It answered ${status}. `);
        if (page) {
          const link = element("a", "", "Its report");
          link.href = page;
          output.append(link);
        }
      } catch (error) {
        output.textContent = `It could not be sent: ${error.message}`;
      }
    });
  }
})();
