// 1,000 users at once, each sending a small GET about once a second.
// k6 run -e BASE=http://127.0.0.1:8000 -e TARGET=/api/service1/items bench/k6/users.js
// Also: USERS (1000), SECONDS (15).
import http from "k6/http";
import { check, sleep } from "k6";

const base = __ENV.BASE || "http://127.0.0.1:8000";
const target = __ENV.TARGET || "/api/service1/items";

export const options = {
  vus: Number(__ENV.USERS || 1000),
  duration: `${__ENV.SECONDS || 15}s`,
  discardResponseBodies: true,
  summaryTrendStats: ["med", "p(95)", "p(99)", "max"],
  thresholds: {
    http_req_duration: ["p(95)<100"],
    http_req_failed: ["rate<0.01"],
    checks: ["rate>0.99"],
  },
};

export default function () {
  // Spread over a second: all at once would measure how k6 opens connections.
  if (__ITER === 0) sleep(Math.random());
  const answer = http.get(base + target);
  check(answer, { "status is 200": (r) => r.status === 200 });
  sleep(0.5 + Math.random());
}
