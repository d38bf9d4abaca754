// Works with `purlin dev` as a developer does: node .ci/dev.mjs PURLIN SITE [FOLDER]
// PURLIN is the executable, SITE a generated site, whose files this changes; screenshots go to FOLDER, if it is given. The site's
// target folder is $CARGO_TARGET_DIR. Run where html-validate, axe-core and playwright-core are installed; the browser is Debian's chromium.
import { createRequire } from "node:module";
import { spawn } from "node:child_process";
import { readFileSync, writeFileSync, readdirSync, readlinkSync, existsSync, rmSync } from "node:fs";
import http from "node:http";
import net from "node:net";
import path from "node:path";
import process from "node:process";

const require = createRequire(`${process.cwd()}/`);
const { HtmlValidate, StaticConfigLoader } = require("html-validate");
const { chromium } = require("playwright-core");
const axe = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");
const validator = new HtmlValidate(new StaticConfigLoader({ extends: ["html-validate:recommended"], rules: { "meta-refresh": "off" } }));

const [, , purlin, site, folder] = process.argv;
const file = (name) => path.join(site, name);
const read = (name) => readFileSync(file(name), "utf8");
const write = (name, text) => writeFileSync(file(name), text);
const edit = (name, from, to) => {
  const text = read(name);
  if (!text.includes(from)) throw new Error(`${name} has no ${from}`);
  write(name, text.replace(from, to));
};
const sleep = (time) => new Promise((resolve) => setTimeout(resolve, time));
const until = async (what, condition, limit = 60_000) => {
  for (const end = Date.now() + limit; Date.now() < end; await sleep(10)) {
    const found = await condition();
    if (found) return found;
  }
  throw new Error(`not in ${limit} ms: ${what}`);
};

let checked = 0;
let faults = 0;
const fault = (where, what) => {
  faults += 1;
  console.log(`FAILED: ${where}: ${what}`);
};
const equal = (where, what, found, expected) => {
  checked += 1;
  if (JSON.stringify(found) !== JSON.stringify(expected)) fault(where, `${what}: expected ${JSON.stringify(expected)}, found ${JSON.stringify(found)}`);
};
const has = (where, text, ...expected) => {
  for (const word of expected) {
    checked += 1;
    if (!text.includes(word)) fault(where, `no ${JSON.stringify(word)} in ${text.slice(0, 600)}`);
  }
};

// What a visitor sees, on a connection of its own.
const HTML = "text/html,application/xhtml+xml,*/*;q=0.8";
const get = (url, accept = HTML, more = {}) =>
  new Promise((resolve, reject) => {
    const { method = "GET", headers = {}, body } = more;
    const request = http.request(url, { agent: false, method, headers: { accept, ...headers } }, (answer) => {
      const parts = [];
      answer.on("data", (part) => parts.push(part));
      answer.on("end", () => resolve({ status: answer.statusCode, headers: answer.headers, text: Buffer.concat(parts).toString() }));
      answer.on("error", reject);
    });
    request.on("error", reject);
    request.end(body);
  });

// The program, its output, and its processor time: its own, and that of what it has waited for.
const started = [];
process.on("uncaughtException", (error) => {
  console.log(`FAILED: ${error.stack}`);
  for (const dev of started) {
    dev.child.kill("SIGKILL");
    console.log(dev.out);
  }
  process.exit(1);
});
const start = (more = [], environment = {}) => {
  const child = spawn(purlin, ["dev", "--listen", "127.0.0.1:0", "--hold", "5m", ...more], {
    cwd: site,
    env: { ...process.env, PURLIN_EDITOR: "vscode", ...environment },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const dev = { child, out: "", err: "" };
  started.push(dev);
  child.stdout.on("data", (data) => (dev.out += data));
  child.stderr.on("data", (data) => (dev.err += data));
  dev.ended = new Promise((resolve) => child.on("exit", (code, signal) => resolve(signal ?? code)));
  dev.address = async () => (await until("an address", () => dev.out.match(/http:\/\/127\.0\.0\.1:\d+/)))[0];
  dev.seconds = () => {
    const fields = readFileSync(`/proc/${child.pid}/stat`, "utf8").split(") ").pop().split(" ");
    return { own: (+fields[11] + +fields[12]) / 100, built: (+fields[13] + +fields[14]) / 100 };
  };
  return dev;
};
// A page, once there is one: a build on a busy machine takes longer than a page waits.
const page_of = async (url) => until(`a page at ${url}`, async () => {
  const answer = await get(url);
  return answer.status === 503 ? undefined : answer;
}, 120_000);
// The numbers of the processes that run the site, or that build it here.
const processes = () =>
  readdirSync("/proc").filter((name) => {
    try {
      if (!/^\d+$/.test(name) || +name === process.pid) return false;
      const program = readlinkSync(`/proc/${name}/exe`);
      const target = process.env.CARGO_TARGET_DIR;
      return program.startsWith(path.join(target, "debug", "my-site")) || (/(cargo|rustc)$/.test(program) && readlinkSync(`/proc/${name}/cwd`) === site);
    } catch {
      return false;
    }
  });
const median = (times) => [...times].sort((a, b) => a - b)[Math.floor(times.length / 2)];
const table = [];
const row = (what, value) => table.push(`  ${what.padEnd(62)} ${value}`);

// A page that says which code made it.
const failures = {
  "/probe-panic": ["panic!(", "pub async fn probe_panic() -> String {\n    panic!(\"no such probe\")\n}"],
  "/probe-error": [".parse()?", 'pub async fn probe_error() -> purlin::Result<String> {\n    let number: u8 = "three".parse()?;\n    Ok(number.to_string())\n}'],
  "/probe-template": ["nothing.there", 'pub async fn probe_template() -> purlin::View {\n    purlin::View::new("probe.html", ())\n}'],
};
const names = ["/probe", ...Object.keys(failures)];
edit("src/routes.rs", "Router::new()", `Router::new()${names.map((name) => `\n        .route("${name}", get(home::${name.slice(1).replace("-", "_")}))`).join("")}`);
write("src/handlers/home.rs", `${read("src/handlers/home.rs")}\n/// For the test.\npub async fn probe() -> String {\n    format!("probe {}", 0)\n}\n${Object.values(failures).map(([, source]) => `\n${source}\n`).join("")}`);
write("templates/probe.html", "<p>A page</p>\n<p>{{ nothing.there }}</p>\n");
const home = read("src/handlers/home.rs");
const probe = (number) => home.replace('"probe {}", 0', `"probe {}", ${number}`);

const begun = Date.now();
// A busy machine takes longer than anybody waits by default.
const dev = start();
const address = await dev.address();
const first = await get(address);
row("purlin dev → something in the browser", `${Date.now() - begun} ms`);
equal("the first build", "status", first.status, 503);
has("the first build", first.text, "Your site is being built", "src/stack.rs", "SecurityHeaders");
equal("the first build", "retry-after", first.headers["retry-after"], "1");
for (const message of validator.validateStringSync(first.text).results.flatMap((result) => result.messages)) fault("the building page", `${message.ruleId}: ${message.message}`);

const browser = await chromium.launch({
  executablePath: "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
});
const context = await browser.newContext({ viewport: { width: 1280, height: 800 } });
const page = await context.newPage();
const consoles = [];
page.on("console", (message) => message.type() === "error" && consoles.push(message.text()));
page.on("pageerror", (error) => consoles.push(error.message));
await page.goto(address);
await page.getByText("Your site is being built").waitFor();
if (folder) await page.screenshot({ path: path.join(folder, "building.png") });
// It becomes the site by itself.
await page.getByText("My Site is running").waitFor({ timeout: 600_000 });
checked += 1;
row("… → the site, in that browser", `${((Date.now() - begun) / 1000).toFixed(1)} s`);

// Somebody asks all the time, on a new connection each time; it is counted what they get.
const counts = {};
let hammering = true;
const hammer = (async () => {
  while (hammering) {
    const answer = await get(`${address}/probe`, "*/*").then((answer) => String(answer.status), (error) => error.code ?? "cut");
    counts[answer] = (counts[answer] ?? 0) + 1;
    await sleep(5);
  }
})();

// What is saved is what is seen, by whoever asks first.
const walls = [];
const seconds = [];
for (let number = 1; number <= 10; number += 1) {
  const before = dev.seconds().built;
  const saved = performance.now();
  write("src/handlers/home.rs", probe(number));
  const answer = await get(`${address}/probe`, "*/*");
  walls.push(performance.now() - saved);
  equal(`edit ${number}`, "the first answer after a save", [answer.status, answer.text], [200, `probe ${number}`]);
  seconds.push(dev.seconds().built - before);
}
row("a handler is saved → its page: wall, median of 10", `${(median(walls) / 1000).toFixed(2)} s`);
row("… processor time of the build, median of 10", `${median(seconds).toFixed(2)} s`);

// Saved as it was: nothing is built.
const lines = dev.out.split("\n").length;
write("src/handlers/home.rs", probe(10));
await sleep(400);
equal("saved as it was", "lines", dev.out.split("\n").length, lines);

// The welcome page: each place opens in the editor, and the times are there.
has("the welcome page", (await get(`${address}/`)).text, `vscode://file${site}/src/stack.rs:`, `vscode://file${site}/src/handlers/home.rs:`, " µs</small>");

// A template and a file that are new, and one that is changed, without a build.
const touched = performance.now();
edit("templates/home.html", "is running</h1>", "is running well</h1>");
has("a template", (await get(`${address}/`)).text, "is running well");
row("a template is saved → its page", `${(performance.now() - touched).toFixed(0)} ms`);
edit("templates/home.html", "is running well</h1>", "is running</h1>");

// The page that is open may be loading itself again.
const open = async (url) => {
  await page.goto(url).catch(async (error) => {
    if (!error.message.includes("interrupted by another navigation")) throw error;
    await page.waitForLoadState();
    await page.goto(url);
  });
};

// In a tab that is open: the template's page is loaded again, and a stylesheet put in its place without that.
await open(`${address}/`);
const heading = performance.now();
edit("templates/home.html", "is running</h1>", "is running well</h1>");
await page.getByText("is running well").waitFor();
row("… in an open tab", `${(performance.now() - heading).toFixed(0)} ms`);
edit("templates/home.html", "is running well</h1>", "is running</h1>");
await page.getByText("is running well").waitFor({ state: "detached" });
await page.evaluate(() => (window.untouched = true));
const sheet = read("static/site.css");
const styled = performance.now();
write("static/site.css", `${sheet}\nbody { outline: 3px solid rgb(1, 2, 3) }\n`);
await page.waitForFunction(() => getComputedStyle(document.body).outlineColor === "rgb(1, 2, 3)");
row("a stylesheet is saved → it is seen in an open tab", `${(performance.now() - styled).toFixed(0)} ms`);
equal("a stylesheet", "the page stays", await page.evaluate(() => window.untouched), true);
write("static/site.css", sheet);

// What goes wrong in a request: the line that is to blame can be seen at once, and the page is no burden.
for (const [name, [line]] of [...Object.entries(failures), ["/no-such-page", []]]) {
  const own = line ? page.locator(".hit").filter({ hasText: line }).first() : page.locator("tbody tr").first();
  for (const time of ["the first time", "again"]) {
    await open(`${address}${name}`);
    const bottom = await own.evaluate((element) => element.getBoundingClientRect().bottom);
    checked += 2;
    if (bottom > 800) fault(name, `the line ends at ${bottom} of 800`);
    const { encodedBodySize: bytes, took } = await page.evaluate(() => {
      const { encodedBodySize, requestStart, responseStart } = performance.getEntriesByType("navigation")[0];
      return { encodedBodySize, took: responseStart - requestStart };
    });
    if (bytes > 40 * 1024) fault(name, `${bytes} bytes`);
    row(`${name}, ${time}: its answer begins; bytes of the page`, `${took.toFixed(0)} ms; ${bytes}`);
  }
}
write("static/new.txt", "new");
equal("a new file", "its text", (await get(`${address}/static/new.txt`)).text, "new");
rmSync(file("static/new.txt"));
equal("files that are read as they are", "lines", dev.out.split("\n").length, lines);

// Two broken builds, each seen in the browser and gone when it is fixed.
const away = [];
const back = [];
for (const [round, broken] of [
  [1, (text) => text.replace("number.parse()", "number.prse()")],
  [2, (text) => `${text}\nfn unfinished( {\n`],
]) {
  const where = `broken build ${round}`;
  const saved = performance.now();
  write("src/handlers/home.rs", broken(probe(10)));
  const answer = await page_of(`${address}/probe`);
  away.push(performance.now() - saved);
  equal(where, "status", answer.status, 500);
  has(where, answer.text, "my-site does not compile", "src/handlers/home.rs:", "vscode://file/");
  equal(where, "cache-control", answer.headers["cache-control"], "no-store");
  has(where, answer.headers["content-security-policy"], "default-src 'none'");
  checked += 1;
  if (answer.text.length > 40 * 1024) fault(where, `${answer.text.length} bytes`);
  for (const message of validator.validateStringSync(answer.text).results.flatMap((result) => result.messages)) {
    fault(where, `${message.ruleId}: ${message.message} (${message.line}:${message.column})`);
  }
  const json = await get(`${address}/probe`, "application/json");
  equal(where, "JSON", [json.status, JSON.parse(json.text).errors[0].file], [500, "src/handlers/home.rs"]);
  const text = await get(`${address}/probe`, "*/*");
  has(where, text.text, "--> src/handlers/home.rs:");
  has(where, dev.err, "--> src/handlers/home.rs:");
  const stranger = await get(`${address}/probe`, HTML, { headers: { host: "evil.example" } });
  equal(where, "another name gets no source", [stranger.status, stranger.text.includes("home.rs")], [500, false]);

  consoles.length = 0;
  await page.goto(`${address}/probe`);
  const bottom = await page.locator("pre .hit").first().evaluate((line) => line.getBoundingClientRect().bottom);
  checked += 1;
  if (bottom > 800) fault(where, `the line ends at ${bottom} of 800`);
  await page.evaluate(axe);
  for (const scheme of ["light", "dark"]) {
    await page.emulateMedia({ colorScheme: scheme });
    const { violations } = await page.evaluate(() => window.axe.run());
    violations.forEach((violation) => fault(`${where}, ${scheme}`, `${violation.id}: ${violation.nodes.map((node) => node.target).join(" ")}`));
    if (folder) await page.screenshot({ path: path.join(folder, `broken-${round}-${scheme}.png`) });
  }
  await page.setViewportSize({ width: 390, height: 844 });
  equal(where, "it fits a phone", await page.evaluate(() => document.documentElement.scrollWidth), 390);
  if (folder) await page.screenshot({ path: path.join(folder, `broken-${round}-phone.png`) });
  await page.setViewportSize({ width: 1280, height: 800 });
  equal(where, "the console", consoles.filter((text) => !text.includes("500 (Internal Server Error)")), []);
  const fixed = performance.now();
  write("src/handlers/home.rs", probe(10 + round));
  await page.getByText(`probe ${10 + round}`).waitFor({ timeout: 120_000 }).catch(async (error) => {
    console.log(await page.content());
    throw error;
  });
  back.push(performance.now() - fixed);
}
row("broken code is saved → its page, the slower of 2", `${(Math.max(...away) / 1000).toFixed(2)} s`);
row("fixed → the page in the browser, untouched, the slower of 2", `${(Math.max(...back) / 1000).toFixed(2)} s`);

// What goes wrong before the site serves, each fixed by an edit of that file alone.
const failing = async (what, name, broken, ...words) => {
  const before = read(name);
  write(name, broken(before));
  if (name.startsWith("templates")) write("src/handlers/home.rs", probe(100));
  const answer = await page_of(`${address}/probe`);
  equal(what, "status", answer.status, 500);
  has(what, answer.text, ...words);
  for (const message of validator.validateStringSync(answer.text).results.flatMap((result) => result.messages)) fault(what, `${message.ruleId}: ${message.message}`);
  await page.goto(`${address}/probe`);
  if (folder) await page.screenshot({ path: path.join(folder, `${what.replaceAll(" ", "-")}.png`) });
  write(name, before);
  // It may be built for that.
  await page.getByText(/^probe/).waitFor({ timeout: 120_000 });
  equal(what, "fixed", (await page_of(`${address}/probe`)).status, 200);
};
await failing("a broken configuration", "config/development.toml", (text) => `${text}\n[server`, "my-site does not start", "unclosed table", "config/development.toml:");
await failing("an unknown setting", "config/development.toml", (text) => text.replace("listen =", "lisen ="), "did you mean", "config/development.toml:3:1");
await failing("a broken template", "templates/home.html", (text) => `${text}{% if x %}`, "a template is broken", "templates/home.html:");
await failing("a panic", "src/stack.rs", (text) => text.replace("let tera =", 'if true {\n        panic!("no such thing");\n    }\n    let tera ='), "no such thing", "src/stack.rs:");
await failing("a wrong order", "src/stack.rs", (text) => text.replace(/( *\.layer\(sessions.*\n)( *\.layer\(Csrf.*\n)/, "$2$1"), "the site does not fit together", "which Sessions provides further in", "<b>to do</b> move the line ");
await failing("a broken manifest", "Cargo.toml", (text) => `${text}\n[dependencies\n`, "cargo cannot build it", "Cargo.toml");

// A site that ends by itself says so, and is started again by who reloads.
// The one before it may be answering what it had begun, for ten seconds at most.
const [running] = await until("one process of the site", () => {
  const found = processes();
  return found.length === 1 && found;
});
process.kill(+running, "SIGKILL");
await until("its end is seen", () => dev.out.includes("my-site has ended: killed by signal 9"));
has("the end of the site", (await get(`${address}/probe`)).text, "killed by signal 9 (SIGKILL)");
await sleep(1100);
equal("after its end", "the site", (await page_of(`${address}/probe`)).status, 200);

// What needs a connection of its own, or a body.
const large = "message=" + "x".repeat(3_000_000);
const sent = await get(`${address}/guestbook`, "*/*", { method: "POST", body: large, headers: { "content-type": "application/x-www-form-urlencoded", origin: address } });
equal("a large body", "is the site's to refuse", sent.status, 413);
const other = spawn(purlin, ["dev", "--listen", address.replace("http://", "")], { cwd: site });
let said = "";
other.stdout.on("data", (data) => (said += data));
await until("another port", () => said.includes("http://"));
has("the port is taken", said, `is taken by ${path.basename(purlin)} (process ${dev.child.pid})`, "the next free port");
other.kill("SIGINT");
await new Promise((resolve) => other.on("exit", resolve));

hammering = false;
await hammer;
const refused = Object.entries(counts).filter(([status]) => !["200", "500"].includes(status));
equal("who asks all the time", "is refused or cut off", refused, []);
row(`requests meanwhile: ${Object.entries(counts).map(([status, count]) => `${count} × ${status}`).join(", ")}; refused`, String(refused.reduce((sum, [, count]) => sum + count, 0)));

// Nobody asks: what it costs to look.
const idle = dev.seconds().own;
await sleep(5000);
row("processor time while nothing happens", `${(((dev.seconds().own - idle) / 5) * 100).toFixed(1)} % of a core`);

// Everything ends with it: by Ctrl-C, in the middle of a build, and when it is killed.
await context.close();
dev.child.kill("SIGINT");
equal("Ctrl-C", "exit code", await dev.ended, 130);
await until("no process is left", () => processes().length === 0, 20_000);
const again = start();
const second = await again.address();
await until("the site", async () => (await get(second, "*/*")).status === 200);
write("src/handlers/home.rs", probe(200));
await until("a build", () => again.out.includes("changed"));
await sleep(200);
again.child.kill("SIGTERM");
equal("SIGTERM in a build", "exit code", await again.ended, 143);
await until("no process is left", () => processes().length === 0, 20_000);
const third = start();
const last = await third.address();
await until("the site", async () => (await get(last, "*/*")).status === 200);
third.child.kill("SIGKILL");
await third.ended;
await until("no process is left", () => processes().length === 0, 20_000);
await browser.close();

console.log(table.join("\n"));
console.log(`${checked} promises held, ${faults} faults`);
if (faults) console.log(dev.out);
process.exit(faults ? 1 : 0);
