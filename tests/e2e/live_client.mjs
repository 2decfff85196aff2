// A client of live updates on Node's own WebSocket: does what a test tells it, tells what it hears.
// Lines on standard input: {"open": url}, {"say": message}, {"text": …}, {"bytes": [..]}, {"close": code}.
// Lines on standard output: {"opened": …}, {"heard": message}, {"closed": code, "reason": text}.

import { createInterface } from "node:readline";

const tell = (what) => process.stdout.write(JSON.stringify(what) + "\n");
let socket;

const acts = {
  open(url) {
    socket = new WebSocket(url);
    socket.binaryType = "arraybuffer";
    socket.onopen = () => tell({ opened: socket.extensions });
    socket.onmessage = (event) => tell({ heard: JSON.parse(event.data) });
    socket.onclose = (event) => tell({ closed: event.code, reason: event.reason, clean: event.wasClean });
  },
  say: (message) => socket.send(JSON.stringify(message)),
  text: (text) => socket.send(text),
  bytes: (numbers) => socket.send(new Uint8Array(numbers)),
  close: (code) => socket.close(code),
};

for await (const line of createInterface({ input: process.stdin })) {
  for (const [act, value] of Object.entries(JSON.parse(line))) acts[act](value);
}
