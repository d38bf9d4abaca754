// Works with the debugger's page as its reader does, in light and in dark: node .ci/debugger.mjs ADDRESS [FOLDER]
// ADDRESS is that of `cargo run --example failures --features debugger`; screenshots go to FOLDER, if it is given.
// Run where html-validate, axe-core and playwright-core are installed; the browser is Debian's chromium.
import { createRequire } from "node:module";
import { readFileSync } from "node:fs";
import process from "node:process";

const require = createRequire(`${process.cwd()}/`);
const { HtmlValidate, StaticConfigLoader } = require("html-validate");
const { chromium } = require("playwright-core");
const axe = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");

const [, , address, folder] = process.argv;
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
const equal = (where, what, found, expected) => {
  checked += 1;
  if (JSON.stringify(found) !== JSON.stringify(expected)) {
    fault(where, `${what}: expected ${JSON.stringify(expected)}, found ${JSON.stringify(found)}`);
  }
};

const answers = (page) => page.locator("details[open] .log > li:not(.asked), #ask .log > li:not(.asked)");
// The last answer, once there are so many.
const answer = async (page, count) => {
  await page.waitForFunction(
    (count) => {
      const all = [...document.querySelectorAll(".log > li:not(.asked)")];
      return all.length === count && all.every((line) => line.textContent !== "…");
    },
    count,
  );
  return (await answers(page).last().innerText()).trim();
};

const panic = async (page, where) => {
  equal(where, "own frames", await page.locator(".frames .own > details > summary > code").allInnerTexts(),
    ["price_at", "total_of (async)", "panics (async)"]);
  equal(where, "the line", (await page.locator(".own .code .hit").first().innerText()).trim().replace(/^\d+\s*/, ""), "let item = &items[row];");
  const frame = page.locator(".own > details").first();
  equal(where, "a variable", /row: usize = 7/.test(await frame.locator(".variables").innerText()), true);
  equal(where, "no secret", (await page.content()).includes("sk-very-secret"), false);

  equal(where, "the column", await page.locator(".own .code .caret").count() > 0, true);

  // The prompt, by keyboard alone.
  const input = page.locator("#ask-0");
  await input.focus();
  await page.keyboard.type("items[1].price * 2.0");
  await page.keyboard.press("Enter");
  equal(where, "an answer", await answer(page, 1), "24.0: f64");
  await page.keyboard.type("items.len()");
  await page.keyboard.press("Enter");
  equal(where, "an answer", await answer(page, 2), "3: usize");
  await page.keyboard.type("nothing");
  await page.keyboard.press("Enter");
  equal(where, "a mistake", /^no variable `nothing`/.test(await answer(page, 3)), true);
  await page.keyboard.press("ArrowUp");
  await page.keyboard.press("ArrowUp");
  equal(where, "history", await input.inputValue(), "items.len()");
  await page.keyboard.press("ArrowDown");
  await page.keyboard.press("ArrowDown");
  equal(where, "history's end", await input.inputValue(), "");
  await page.keyboard.type("row");
  await page.keyboard.press("Shift+Enter");
  await page.keyboard.type("+ 1");
  equal(where, "lines", await input.inputValue(), "row\n+ 1");
  await page.keyboard.press("Enter");
  equal(where, "an answer to two lines", await answer(page, 4), "8: usize");
  await page.keyboard.type("ite");
  await page.keyboard.press("Tab");
  await page.waitForFunction(() => document.querySelector("#ask-0").value === "items");
  // Nobody is caught in the field: with nothing more to complete, Tab goes on, and after Escape at once.
  await page.keyboard.press("Tab");
  await page.waitForTimeout(300);
  await page.keyboard.press("Tab");
  equal(where, "left by Tab", await page.evaluate(() => document.activeElement.id), "");
  await input.focus();
  await page.keyboard.type(".");
  await page.keyboard.press("Escape");
  await page.keyboard.press("Tab");
  equal(where, "left by Escape and Tab", await page.evaluate(() => document.activeElement.id), "");
  await input.focus();
  await page.keyboard.press("Control+l");
  equal(where, "the log after Ctrl-L", await answers(page).count(), 0);
  await input.fill("items");
  await page.keyboard.press("Enter");
  await answer(page, 1);
  const opened = answers(page).first();
  await opened.locator("summary").first().click();
  await opened.locator("summary").nth(1).click();
  await opened.getByText("tea").first().waitFor();
  if (folder) await page.screenshot({ path: `${folder}/prompt-${where.includes("dark") ? "dark" : "light"}.png` });

  // What was chosen and asked is still there.
  await page.click("#unfold");
  await page.reload();
  equal(where, "unfolded after a reload", await page.locator(".folded > details[open]").count() > 0, true);
  await page.locator("#ask-0").focus();
  await page.keyboard.press("ArrowUp");
  equal(where, "history after a reload", await page.locator("#ask-0").inputValue(), "items");
  await page.locator("#ask-0").fill("");

  // Frames of others are read when they are opened.
  const other = page.locator(".other > details").first();
  await other.locator("summary").first().click();
  await other.locator(".variables h3").waitFor();

  await page.click("#unfold");
  await page.locator("#replay > summary").click();
  await page.locator("#replay button").click();
  await page.locator("#replay output a").waitFor();
  equal(where, "replay", /It answered 500/.test(await page.locator("#replay output").innerText()), true);
  await page.click("#copy");
  await page.waitForFunction(() => document.querySelector("#copy").textContent === "Copied");
  const copied = await page.evaluate(() => navigator.clipboard.readText());
  equal(where, "Markdown", copied.startsWith("# 500 panicked: index out of bounds"), true);
};

// The prompt where nothing failed.
const list = async (page, where) => {
  equal(where, "the table", (await page.locator("tbody").innerText()).includes("reading the quantity"), true);
  const input = page.locator("#ask-site");
  await input.focus();
  await page.keyboard.type("routes | le");
  await page.keyboard.press("Tab");
  await page.waitForFunction(() => document.querySelector("#ask-site").value === "routes | length");
  await page.keyboard.press("Enter");
  equal(where, "an answer", /^\d+: number$/.test(await answer(page, 1)), true);
  await page.keyboard.type("routes[1]");
  await page.keyboard.press("Enter");
  await answer(page, 2);
  await page.locator("#ask .log > li:not(.asked) summary").first().click();
  await page.locator("#ask .log").getByText("/panics/{row}").first().waitFor();
  await page.keyboard.press("Escape");
  await input.focus();
  await page.keyboard.type("config | nonsense");
  await page.keyboard.press("Enter");
  equal(where, "a mistake", /nonsense/.test(await answer(page, 3)), true);
  await page.reload();
  await page.locator("#ask-site").focus();
  await page.keyboard.press("ArrowUp");
  equal(where, "its own history", await page.locator("#ask-site").inputValue(), "config | nonsense");
  await page.locator("#ask-site").fill("");
};

const shows = (selector, text) => async (page, where) => {
  const found = await page.locator(selector).first().innerText().catch(() => "");
  equal(where, selector, found.includes(text), true);
};

const pages = [
  ["panic", "/panics/7", panic],
  ["error", "/fails/seven", shows(".own .variables", 'trimmed: &str = "seven"')],
  // With the feature `sqlite` only.
  ["database", "/cellar/7", async (page, where) => {
    if ((await page.title()).startsWith("404")) return;
    await shows(".own .variables", "shelf: u32 = 7")(page, where);
    await shows(".causes", "no such column: left_over")(page, where);
  }],
  ["template", "/template", shows(".hit", "item.price")],
  ["hint", "/missing", shows(".hint", "Create a template receipt.html, or name one that there is: cart.html")],
  ["layer", "/quota", shows(".stack .failed", "Quota")],
  ["404", "/panic/7", shows(".near", "/panics/{row}")],
  ["body", async (page) => {
    await page.request.get(`${address}/streams`).catch(() => {});
    await page.goto(`${address}/_debug/`);
    await page.locator("tbody a").first().click();
    await page.waitForLoadState();
  }, shows(".own .code .hit", "self.0[at]")],
  ["list", "/_debug/", list],
];

for (const colorScheme of ["light", "dark"]) {
  for (const [name, path, act] of pages) {
    const where = `${name} (${colorScheme})`;
    // Under the page's own policy: what it forbids must not be needed.
    const context = await browser.newContext({ colorScheme, viewport: { width: 1280, height: 900 } });
    await context.grantPermissions(["clipboard-read", "clipboard-write"]);
    const page = await context.newPage();
    page.on("request", (request) => request.url().startsWith(address) || request.url().startsWith("data:") || fault(where, `a request elsewhere: ${request.url()}`));
    page.on("pageerror", (error) => fault(where, error));
    // The browser reports the status of an error page as an error of its own.
    page.on("console", (message) => message.type() === "error" && !/status of [45]|ERR_INCOMPLETE/.test(message.text()) && fault(where, message.text()));
    if (typeof path === "string") await page.goto(address + path);
    else await path(page);
    await act(page, where);
    if (folder) await page.screenshot({ path: `${folder}/${name}-${colorScheme}.png`, fullPage: true });
    const url = page.url();
    await context.close();

    // axe and the validator look at all of it, unfolded, and without its policy, which forbids the script that axe is.
    const open = await browser.newContext({ colorScheme, bypassCSP: true });
    const looked = await open.newPage();
    await looked.goto(url);
    await looked.evaluate(() => document.querySelectorAll("main > * details:not(.other > details)").forEach((details) => { details.open = true; }));
    await looked.waitForLoadState("networkidle");
    await looked.evaluate(axe);
    const { violations } = await looked.evaluate(() => axe.run({ runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"] }));
    for (const { id, help, nodes } of violations) {
      fault(where, `${help} (${id}): ${nodes.slice(0, 3).map((node) => node.target).join(", ")}`);
    }
    await open.close();

    // Without a script all of it is there to be read.
    const still = await browser.newContext({ colorScheme, javaScriptEnabled: false });
    const read = await still.newPage();
    let source = "";
    read.on("response", async (response) => { if (response.request().isNavigationRequest()) source = await response.text().catch(() => ""); });
    await read.goto(url);
    equal(where, "without a script", await read.locator("main").innerText().then((text) => text.length > 50), true);
    const report = await validator.validateString(source, name);
    for (const result of report.results) {
      for (const { line, column, message, ruleId } of result.messages.slice(0, 5)) fault(where, `${line}:${column} ${message} (${ruleId})`);
    }
    await still.close();
    checked += 1;
  }
}
await browser.close();
console.log(`  ${checked} things looked at, ${faults} faults`);
process.exit(faults === 0 ? 0 : 1);
