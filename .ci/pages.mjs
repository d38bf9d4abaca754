// Looks at every page of a running site as html-validate and axe do, in light and in dark: node .ci/pages.mjs ADDRESS
// Run where html-validate, axe-core and playwright-core are installed; the browser is Debian's chromium.
import { createRequire } from "node:module";
import { readFileSync } from "node:fs";
import process from "node:process";

const require = createRequire(`${process.cwd()}/`);
const { HtmlValidate, StaticConfigLoader } = require("html-validate");
const { chromium } = require("playwright-core");
const axe = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");

const address = process.argv[2];
const pages = [
  ["/", async () => {}],
  ["/guestbook", async () => {}],
  ["/guestbook", async (page) => {
    await page.fill("#name", "Ada");
    await page.click("button");
    await page.waitForSelector("#message-problem");
  }],
  ["/guestbook", async (page) => {
    await page.fill("#name", "Ada");
    await page.fill("#message", "Hello");
    await page.click("button");
    await page.waitForSelector(".flash");
  }],
  ["/no-such-page", async () => {}],
  ["/fail", async () => {}],
];

const validator = new HtmlValidate(new StaticConfigLoader({ extends: ["html-validate:recommended"] }));
const browser = await chromium.launch({
  executablePath: "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
});
let checked = 0;
let faults = 0;
const fault = (where, what) => {
  faults += 1;
  console.log(`FAILED: ${where}: ${what}`);
};

for (const colorScheme of ["light", "dark"]) {
  for (const [path, act] of pages) {
    const where = `${path} (${colorScheme})`;
    // The policy of the site forbids the script that axe is.
    const context = await browser.newContext({ colorScheme, bypassCSP: true, viewport: { width: 1280, height: 800 } });
    const page = await context.newPage();
    const foreign = [];
    const consoleErrors = [];
    page.on("request", (request) => request.url().startsWith(address) || foreign.push(request.url()));
    page.on("console", (message) => message.type() === "error" && consoleErrors.push(message.text()));
    let source = "";
    page.on("response", async (response) => {
      if (response.request().isNavigationRequest() && response.status() < 300 | response.status() >= 400) {
        source = await response.text();
      }
    });
    await page.goto(address + path);
    await act(page);
    await page.waitForLoadState("networkidle");
    const report = await validator.validateString(source, path);
    for (const result of report.results) {
      for (const { line, column, message, ruleId } of result.messages) {
        fault(where, `${line}:${column} ${message} (${ruleId})`);
      }
    }
    await page.evaluate(axe);
    const { violations } = await page.evaluate(() => axe.run());
    for (const { id, help, nodes } of violations) {
      fault(where, `${help} (${id}): ${nodes.map((node) => node.target).join(", ")}`);
    }
    for (const url of foreign) fault(where, `a request elsewhere: ${url}`);
    // The browser reports the status of an error page as an error of its own.
    for (const text of consoleErrors) if (!text.includes("status of 4") && !text.includes("status of 5")) fault(where, text);
    checked += 1;
    await context.close();
  }
}
await browser.close();
console.log(`  ${checked} pages looked at, ${faults} faults`);
process.exit(faults === 0 ? 0 : 1);
