-- wrk -s load.lua URL -- upload=BYTES check=BYTES pause=MS
--   upload  sends a POST with a body of so many bytes instead of a GET
--   check   looks at every answer: 200 and a body of exactly so many bytes, else it is wrong
--           (costs wrk several microseconds an answer: for the warm-up, not for the measurement)
--   pause   waits so many milliseconds before each request of a connection: a fixed, modest rate
-- By hand: wrk -t1 -c64 -d5s --latency -s bench/wrk/load.lua http://127.0.0.1:8000/api/service1/items
local here = debug.getinfo(1, "S").source:match("^@(.*/)") or ""
dofile(here .. "report.lua")

local function options(args)
    local found = {}
    for _, argument in ipairs(args) do
        local name, value = argument:match("^(%a+)=(%d+)$")
        if not name then error("not understood: " .. argument) end
        found[name] = tonumber(value)
    end
    return found
end

function init(args)
    local wanted = options(args)
    if wanted.upload then
        wrk.method = "POST"
        wrk.headers["Content-Type"] = "application/octet-stream"
        wrk.body = string.rep("x", wanted.upload)
    end
    if wanted.pause then
        function delay() return wanted.pause end
    end
    if wanted.check then
        wrong = 0
        function response(status, headers, body)
            if status ~= 200 or #body ~= wanted.check then wrong = wrong + 1 end
        end
    end
end
