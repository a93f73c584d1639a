// A program for Node: node client.mjs URL TOKEN. It asks whether its body is wanted
// before it sends it, and prints the answer's body, and its status in a line of its own.
import { request } from "node:http";

const [url, token] = process.argv.slice(2);
const body = Buffer.alloc(300_000, "x");
const asking = request(url, {
	method: "POST",
	headers: {
		Authorization: "Bearer " + token,
		"Content-Type": "application/octet-stream",
		"Content-Length": body.length,
		Expect: "100-continue",
	},
});
asking.on("continue", () => asking.end(body));
asking.on("response", async (response) => {
	let text = "";
	for await (const part of response) {
		text += part;
	}
	console.log(text + "\n" + response.statusCode);
	process.exit();
});
asking.flushHeaders();
