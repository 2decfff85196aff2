-- The figures of one run as one line of JSON. wrk itself counts a status above 399 as an error.
function done(summary, latency, requests)
    local e = summary.errors
    io.write(string.format(
        '\n{"duration_us":%d,"requests":%d,"bytes":%d,' ..
        '"connect":%d,"read":%d,"write":%d,"status":%d,"timeout":%d,"wrong":%d,' ..
        '"p50_us":%d,"p95_us":%d,"p99_us":%d,"max_us":%d}\n',
        summary.duration, summary.requests, summary.bytes,
        e.connect, e.read, e.write, e.status, e.timeout, wrong_answers(),
        latency:percentile(50), latency:percentile(95), latency:percentile(99), latency.max))
end

local threads = {}

function setup(thread)
    table.insert(threads, thread)
end

-- `wrong` is a global of the threads that check every answer (check.lua); nil elsewhere.
function wrong_answers()
    local sum = 0
    for _, thread in ipairs(threads) do
        sum = sum + (thread:get("wrong") or 0)
    end
    return sum
end
