// Node's server: node app.mjs PORT. What it makes of a request, as lines NAME=value.
import { createServer } from "node:http";
import { posix } from "node:path";
import { parse } from "node:url";

// The ways in which programs for Node take a path out of req.url.
const readings = [
	(url) => new URL(url, "http://h").pathname,
	(url) => decodeURIComponent(new URL(url, "http://h").pathname),
	(url) => parse(url).pathname,
	(url) => posix.normalize(decodeURIComponent(parse(url).pathname)),
];

createServer((req, res) => {
	const lines = ["SERVER=node"];
	for (const read of readings) {
		try {
			lines.push("PATH=" + read(req.url));
		} catch {} // such a program answers 500
	}
	for (const [name, value] of Object.entries(req.headers)) {
		lines.push("HTTP_" + name.toUpperCase().replaceAll("-", "_") + "=" + value);
	}
	res.end(Buffer.from(lines.join("\n"), "latin1"));
}).listen(Number(process.argv[2]), "127.0.0.1");
