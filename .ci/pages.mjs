// Looks at every page of a running site as html-validate and axe do, in light and in dark: node .ci/pages.mjs ADDRESS
// With a second word, `--auth`, at those of a site with accounts, and walks through it as a visitor does.
// Run where html-validate, axe-core and playwright-core are installed; the browser is Debian's chromium.
import { createRequire } from "node:module";
import { readFileSync } from "node:fs";
import process from "node:process";

const require = createRequire(`${process.cwd()}/`);
const { HtmlValidate, StaticConfigLoader } = require("html-validate");
const { chromium } = require("playwright-core");
const axe = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");

const [address, option] = process.argv.slice(2);

// The smallest PNG, and what only calls itself one.
const picture = (buffer) => ({ name: "face.png", mimeType: "image/png", buffer });
const face = picture(
  Buffer.from(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNk+A8AAQUBAScY42YAAAAASUVORK5CYII=",
    "base64",
  ),
);
const noFace = picture(Buffer.from("no picture"));

const nothing = async () => {};
const submit = (page) => page.click("main form button");
// The browser's own rules would keep what is wrong from being sent.
const send = async (page, fields) => {
  await page.evaluate(() => document.querySelectorAll("form").forEach((form) => (form.noValidate = true)));
  for (const [name, value] of Object.entries(fields)) await page.fill(`[name=${name}]`, value);
  await submit(page);
};
let accounts = 0;
const newcomer = () => ({ name: "Ada Lovelace", email: `ada${(accounts += 1)}.${process.pid}@example.org`, password: "correct horse" });
const register = async (page) => {
  await page.goto(`${address}/register`);
  const user = newcomer();
  await send(page, user);
  await page.waitForSelector(".flash");
  return user;
};

const everywhere = [
  ["/", nothing],
  ["/guestbook", nothing],
  ["/no-such-page", nothing],
  ["/fail", nothing],
  ["/fail/page", nothing],
];
const withoutAccounts = [
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
];
const withAccounts = [
  ["/register", nothing],
  ["/register", async (page) => {
    await send(page, { name: "", email: "nonsense", password: "short" });
    for (const field of ["name", "email", "password"]) await page.waitForSelector(`#${field}-problem`);
  }],
  ["/sign-in", nothing],
  ["/sign-in", async (page) => {
    await send(page, { email: "nobody@example.org", password: "wrong" });
    await page.waitForSelector("text=The address or the password is wrong.");
  }],
  ["/account", async (page) => {
    await register(page);
    await page.goto(`${address}/account`);
  }],
  ["/account", async (page) => {
    await register(page);
    await page.goto(`${address}/account`);
    await page.setInputFiles("[type=file]", noFace);
    await submit(page);
    await page.waitForSelector("#picture-problem");
  }],
  ["/guestbook", async (page) => {
    await register(page);
    await page.goto(`${address}/guestbook`);
    await send(page, { message: "" });
    await page.waitForSelector("#message-problem");
  }],
  ["/guestbook", async (page) => {
    await register(page);
    await page.goto(`${address}/account`);
    await page.setInputFiles("[type=file]", face);
    await submit(page);
    await page.goto(`${address}/guestbook`);
    await send(page, { message: "Hello <script>alert(1)</script>" });
    await page.waitForSelector("article img");
  }],
];

const validator = new HtmlValidate(new StaticConfigLoader({ extends: ["html-validate:recommended"] }));
const browser = await chromium.launch({
  executablePath: "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
  // The back button of a visitor's browser may show a page as it was left.
  ignoreDefaultArgs: ["--disable-back-forward-cache"],
});
let checked = 0;
let faults = 0;
const fault = (where, what) => {
  faults += 1;
  console.log(`FAILED: ${where}: ${what}`);
};

for (const colorScheme of ["light", "dark"]) {
  for (const [path, act] of [...everywhere, ...(option === "--auth" ? withAccounts : withoutAccounts)]) {
    const where = `${path} (${colorScheme})`;
    // The policy of the site forbids the script that axe is.
    const context = await browser.newContext({ colorScheme, bypassCSP: true, viewport: { width: 1280, height: 800 } });
    const page = await context.newPage();
    const foreign = [];
    const consoleErrors = [];
    page.on("request", (request) => request.url().startsWith(address) || foreign.push(request.url()));
    page.on("console", (message) => message.type() === "error" && consoleErrors.push(message.text()));
    let answer;
    page.on("response", (response) => {
      if (response.request().isNavigationRequest() && response.status() < 300 | response.status() >= 400) answer = response;
    });
    await page.goto(address + path);
    await act(page);
    await page.waitForLoadState("networkidle");
    const report = await validator.validateString(await answer.text(), path);
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
console.log(`  ${checked} pages looked at, ${faults} faults`);

// A visitor's way through the site, from the first form to the back button after the last.
async function walk() {
  const where = "the walk";
  const expect = (promise, kept) => kept || fault(where, promise);
  const page = await (await browser.newContext()).newPage();
  // A page that leaves while it is looked at is looked at again when the next one is there.
  const look = (question) =>
    page.evaluate(question).catch(async (error) => {
      if (!error.message.includes("context was destroyed")) throw error;
      await page.waitForLoadState();
      return page.evaluate(question);
    });
  const user = newcomer();
  await page.goto(`${address}/account`);
  expect("a stranger is sent to the sign-in page", page.url().startsWith(`${address}/sign-in?next=`));
  await page.click("main >> text=Register");
  await send(page, { ...user, name: "" });
  await page.waitForSelector("#name-problem");
  expect("what was typed is kept", (await page.inputValue("[name=email]")) === user.email);
  expect("a password is not sent back", (await page.inputValue("[name=password]")) === "");
  await send(page, { name: user.name, password: user.password });
  await page.waitForSelector(".flash");
  await page.goto(`${address}/account`);
  await page.setInputFiles("[type=file]", noFace);
  await submit(page);
  await page.waitForSelector("#picture-problem");
  await page.setInputFiles("[type=file]", face);
  await submit(page);
  await page.waitForSelector(".flash");
  await page.goto(`${address}/guestbook`);
  await send(page, { message: "Hello from the walk" });
  await page.waitForSelector("article img");
  await page.goto(`${address}/account`);
  expect("the account is shown to its owner", (await page.textContent("h1")) === user.name);
  await page.click("text=Sign out");
  await page.waitForURL(`${address}/`);
  for (let back = 1; back <= 3; back += 1) {
    // As the button does it: a page that is shown as it was left is not loaded, so nothing can be waited for but the page.
    const before = await look(() => performance.timeOrigin);
    await page.evaluate(() => void setTimeout(() => history.back()));
    await page.waitForFunction((before) => performance.timeOrigin !== before && document.readyState === "complete", before);
    const shown = await look(() => document.querySelector("nav").innerText + document.querySelector("h1").innerText);
    expect(`nothing private is shown ${back} back from the sign-out, at ${page.url()}: ${shown}`, !shown.includes(user.name));
  }
  await page.goto(`${address}/sign-in?next=%2Faccount`);
  await send(page, { email: user.email, password: user.password });
  await page.waitForURL(`${address}/account`);
}

if (option === "--auth") {
  await walk().catch((error) => fault("the walk", error.message));
  console.log("  walked through it as a visitor");
}
await browser.close();
process.exit(faults === 0 ? 0 : 1);
