// Bodies up and down, some users without pause; every answer's status and length is looked at.
// k6 run -e BASE=http://127.0.0.1:8000 -e UP=/api/service1/upload -e DOWN=/api/service1/64k \
//        -e DOWN_BYTES=65536 bench/k6/bodies.js
// Also: USERS (16), SECONDS (15), UP_BYTES (65536), and UP or DOWN empty to leave one out.
import http from "k6/http";
import { check } from "k6";

const base = __ENV.BASE || "http://127.0.0.1:8000";
const up = __ENV.UP === undefined ? "/api/service1/upload" : __ENV.UP;
const down = __ENV.DOWN === undefined ? "/api/service1/64k" : __ENV.DOWN;
const downBytes = Number(__ENV.DOWN_BYTES || 65536);
const body = "x".repeat(Number(__ENV.UP_BYTES || 65536));

export const options = {
  vus: Number(__ENV.USERS || 16),
  duration: `${__ENV.SECONDS || 15}s`,
  summaryTrendStats: ["med", "p(95)", "p(99)", "max"],
  thresholds: {
    http_req_duration: ["p(95)<100"],
    http_req_failed: ["rate<0.01"],
    checks: ["rate>0.99"],
  },
};

export default function () {
  if (up) {
    const sent = http.post(base + up, body, {
      headers: { "Content-Type": "application/octet-stream" },
    });
    check(sent, { "upload is taken": (r) => r.status >= 200 && r.status < 300 });
  }
  if (down) {
    const got = http.get(base + down);
    check(got, {
      "download is 200": (r) => r.status === 200,
      "download is whole": (r) => r.body !== null && r.body.length === downBytes,
    });
  }
}
