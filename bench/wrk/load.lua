-- wrk -s load.lua URL -- upload=BYTES varied=1 check=BYTES pause=MS
--   upload  sends a POST with a body of so many bytes instead of a GET
--   varied  no head comes twice: path, query and a field of 40 bytes differ in every request
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

-- The head is a format, filled anew for each request. The counter makes it differ from all others
-- of the run, the random rest from those of other runs, and at the front of the field.
local function vary()
    math.randomseed(os.time())
    wrk.headers["X-N"] = "%08x%08x%08x%08x%08x"
    local head = wrk.format(nil, wrk.path .. "/%08x?page=%d")
    local format, random, top, number = string.format, math.random, 0x7fffffff, 0
    function request()
        number = number + 1
        return format(head, random(top), number,
            random(top), random(top), random(top), random(top), number)
    end
end

function init(args)
    local wanted = options(args)
    if wanted.upload then
        wrk.method = "POST"
        wrk.headers["Content-Type"] = "application/octet-stream"
        wrk.body = string.rep("x", wanted.upload)
    end
    if wanted.varied then vary() end
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
