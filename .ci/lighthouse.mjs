// Asks Lighthouse of pages of a running site, as a phone and as a desktop: node .ci/lighthouse.mjs ADDRESS PATH…
// Accessibility, best practices and SEO must have full marks. Speed is printed: a score that depends on the machine fails nothing.
// Run where lighthouse and playwright-core are installed; the browser is Debian's chromium.
import { createRequire } from "node:module";
import { createServer } from "node:net";
import process from "node:process";
import { pathToFileURL } from "node:url";

const require = createRequire(`${process.cwd()}/`);
const { chromium } = require("playwright-core");
const { default: lighthouse } = await import(pathToFileURL(require.resolve("lighthouse")));

const [address, ...paths] = process.argv.slice(2);
const required = ["accessibility", "best-practices", "seo"];
// What an answer of 400 and above cannot have: a good status, a place in an index, and a browser that does not report it.
const ofFailures = new Set(["http-status-code", "is-crawlable", "errors-in-console"]);
const desktop = { formFactor: "desktop", screenEmulation: { mobile: false, width: 1350, height: 940, deviceScaleFactor: 1 } };

const port = await new Promise((resolve) => {
  const server = createServer().listen(0, "127.0.0.1", () => {
    const { port } = server.address();
    server.close(() => resolve(port));
  });
});
const browser = await chromium.launch({
  executablePath: "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking", `--remote-debugging-port=${port}`],
});
let faults = 0;
for (const path of paths) {
  const status = (await fetch(address + path, { headers: { accept: "text/html" }, redirect: "manual" })).status;
  for (const form of [{ formFactor: "mobile" }, desktop]) {
    const options = { port, logLevel: "silent", onlyCategories: ["performance", ...required], ignoreStatusCode: true, ...form };
    if (status >= 400) options.skipAudits = [...ofFailures];
    // A machine that is busy may show nothing in time (NO_FCP, PROTOCOL_TIMEOUT): that is no fault of the page's.
    let lhr;
    for (let turn = 1; turn <= 3; turn += 1) {
      ({ lhr } = await lighthouse(address + path, options));
      if (!lhr.runtimeError) break;
      console.log(`  ${path}: turn ${turn} of 3: ${lhr.runtimeError.message}`);
    }
    const score = (id) => Math.round(100 * lhr.categories[id].score);
    const scores = Object.keys(lhr.categories).map((id) => `${id} ${score(id)}`);
    console.log(`  ${path} (${status}, ${form.formFactor}): ${scores.join(", ")}`);
    for (const id of required.filter((id) => score(id) !== 100)) {
      faults += 1;
      for (const { id: audit } of lhr.categories[id].auditRefs) {
        const { score, title, details } = lhr.audits[audit];
        if (score !== null && score < 1) console.log(`FAILED: ${path}: ${title} (${audit}) ${JSON.stringify(details?.items ?? "").slice(0, 600)}`);
      }
    }
    if (lhr.runtimeError) {
      faults += 1;
      console.log(`FAILED: ${path}: ${lhr.runtimeError.message}`);
    }
  }
}
await browser.close();
process.exit(faults === 0 ? 0 : 1);
