// PHP 7.4 or 8.4 on a machine whose own PHP is another:   node php.mjs 7.4 FOLDER [php arguments]
// FOLDER is seen at the same path inside. Enough for `php -l` and for pure functions; it knows no sockets and no MySQL.
import { File } from 'node:buffer';
import { webcrypto } from 'node:crypto';

// Debian 12's Node 18 has these, but not as globals; the packages expect them there when they are loaded.
globalThis.File ??= File;
globalThis.crypto ??= webcrypto;
const { PHP, loadPHPRuntime } = await import('@php-wasm/universal');

const [version, folder, ...args] = process.argv.slice(2);
const loader = await import(`@php-wasm/node-${version.replace('.', '-')}`);

const php = new PHP(await loadPHPRuntime(await loader.getPHPLoaderModule(), { ENV: { ...process.env } }));
await php.mount(folder, (instance, FS, at) => {
	FS.mkdirTree(at);
	FS.mount(FS.filesystems.NODEFS, { root: folder }, at);
	return () => FS.unmount(at);
});
php.chdir(folder);
const answer = await php.cli(['php', ...args]);
const decoder = new TextDecoder();
const print = (to) => new WritableStream({ write: (bytes) => { to.write(decoder.decode(bytes)); } });
await Promise.all([answer.stdout.pipeTo(print(process.stdout)), answer.stderr.pipeTo(print(process.stderr))]);
process.exitCode = await answer.exitCode;
process.exit();
