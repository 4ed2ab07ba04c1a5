// A browser that does what it is told: one line of JSON in, one line of JSON out. What is right is judged by the test.
//   node driver.mjs PACKAGES CHROMIUM SITE
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';

const [packages, executablePath, site] = process.argv.slice(2);
const require = createRequire(`${packages}/`);
const { chromium } = require('playwright-core');
const axe = require.resolve('axe-core/axe.min.js');

// Of this site alone: no page may load anything from elsewhere.
const browser = await chromium.launch({ executablePath, args: ['--disable-gpu', '--disable-dev-shm-usage'] });
const patience = 15000;
let page = null;
let answer = null;
let elsewhere = [];
let complaints = [];

const find = ({ role, name, label, selector, nth }) => {
	const found = role ? page.getByRole(role, { name, exact: true })
		: label ? page.getByLabel(label, { exact: true })
		: page.locator(selector);
	return nth === undefined ? found.first() : found.nth(nth);
};

const commands = {
	// A new visitor, with or without scripts.
	async visitor({ javascript }) {
		const context = await browser.newContext({
			baseURL: site, javaScriptEnabled: javascript, viewport: { width: 1280, height: 900 }, reducedMotion: 'reduce',
		});
		context.setDefaultTimeout(patience);
		page = await context.newPage();
		page.on('request', (request) => {
			const url = request.url();
			if (url.startsWith('http') && !url.startsWith(`${site}/`)) elsewhere.push(url);
		});
		page.on('dialog', (dialog) => {
			complaints.push(`a dialog: ${dialog.message()}`);
			dialog.dismiss();
		});
		page.on('pageerror', (error) => complaints.push(`an error of a script: ${error.message}`));
	},
	async log_in({ user, password }) {
		await page.goto('/wp-login.php');
		await page.fill('#user_login', user);
		await page.fill('#user_pass', password);
		await Promise.all([page.waitForURL('**/wp-admin/**'), page.click('#wp-submit')]);
	},
	async open({ path }) {
		answer = await page.goto(path);
		return answer.status();
	},
	// Clicks on what leads to another page.
	async follow(what) {
		const arrived = page.waitForNavigation({ timeout: patience });
		arrived.catch(() => {});
		await find(what).click();
		await arrived;
	},
	async press({ key }) {
		const arrived = page.waitForNavigation({ timeout: patience });
		arrived.catch(() => {});
		await page.keyboard.press(key);
		await arrived;
	},
	async fill({ value, ...what }) {
		await find(what).fill(value);
	},
	async select({ value, ...what }) {
		await find(what).selectOption(value);
	},
	// Waits for it, as a person would who looks at the page.
	async see({ text }) {
		await page.getByText(text).first().waitFor();
	},
	async text(what) {
		return await find(what).innerText();
	},
	async count({ selector }) {
		return await page.locator(selector).count();
	},
	async is_disabled(what) {
		return await find(what).isDisabled();
	},
	async focus(what) {
		await find(what).focus();
	},
	async url() {
		return page.url();
	},
	async evaluate({ code }) {
		return await page.evaluate(code);
	},
	async shot({ file }) {
		await page.screenshot({ path: file, fullPage: true });
	},
	// What an accessibility checker finds below `within`, each as one sentence.
	async axe({ within }) {
		await page.addScriptTag({ path: axe });
		const found = await page.evaluate((selector) => window.axe.run(selector, { resultTypes: ['violations'] }), within);
		return found.violations.map(({ id, impact, help, nodes }) => ({
			impact, said: `${id}: ${help}: ${nodes.map((node) => node.html).slice(0, 3).join(' ')}`,
		}));
	},
	// What should never happen: requests to other hosts, dialogs, errors of scripts.
	async complaints() {
		return [...elsewhere.map((url) => `a request to ${url}`), ...complaints];
	},
};

for await (const line of createInterface({ input: process.stdin })) {
	const { command, ...rest } = JSON.parse(line);
	let said;
	try {
		said = { value: (await commands[command](rest)) ?? null };
	} catch (error) {
		const seen = page ? await page.locator('body').innerText({ timeout: 1000 }).catch(() => '') : '';
		said = { error: error.message.split('\n').slice(0, 6).join('\n'), url: page?.url(), seen: seen.slice(0, 3000) };
	}
	process.stdout.write(`${JSON.stringify(said)}\n`);
}
await browser.close();
