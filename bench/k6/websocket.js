// WebSocket echo: each user sends a message, waits for its echo, sends the next.
// k6 run -e BASE=ws://127.0.0.1:8000 -e TARGET=/ws bench/k6/websocket.js
// Also: USERS (64), SECONDS (15).
import ws from "k6/ws";
import { check } from "k6";
import { Rate, Trend } from "k6/metrics";

const base = __ENV.BASE || "ws://127.0.0.1:8000";
const target = __ENV.TARGET || "/ws";
const seconds = Number(__ENV.SECONDS || 15);
const message = "x".repeat(32);

const echo = new Trend("echo_duration", true);
const lost = new Rate("echo_failed");

export const options = {
  scenarios: {
    echo: {
      executor: "per-vu-iterations",
      vus: Number(__ENV.USERS || 64),
      iterations: 1,
      maxDuration: `${seconds + 10}s`,
    },
  },
  summaryTrendStats: ["med", "p(95)", "p(99)", "max"],
  thresholds: {
    echo_duration: ["p(95)<100"],
    echo_failed: ["rate<0.01"],
    checks: ["rate>0.99"],
  },
};

export default function () {
  const answer = ws.connect(base + target, {}, (socket) => {
    let sent = 0;
    const send = () => {
      sent = Date.now();
      socket.send(message);
    };
    socket.on("open", () => {
      send();
      socket.setTimeout(() => socket.close(), seconds * 1000);
    });
    socket.on("message", (got) => {
      echo.add(Date.now() - sent);
      lost.add(got !== message);
      send();
    });
    socket.on("error", () => lost.add(true));
  });
  check(answer, { "upgraded with 101": (r) => r && r.status === 101 });
}
