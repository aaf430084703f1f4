-- Says what is asked for and by whom, and gives one line of JSON of what came back, for load.py to read. Times are in
-- microseconds. Arguments: tokens, one a person, and paths, each with spaces between; requests take them in turn.
local tokens, paths = {}, {}
local turn = 0

local function all(words, into, before)
  for word in (words or ""):gmatch("%S+") do
    into[#into + 1] = before .. word
  end
end

function signed_in(words)
  all(words, tokens, "Bearer ")
end

function somebody()
  turn = turn + 1
  return tokens[turn % #tokens + 1]
end

function init(args)
  signed_in(args[1])
  all(args[2], paths, "")
  function request()
    if #tokens > 0 then
      wrk.headers["Authorization"] = somebody()
    else
      turn = turn + 1
    end
    return wrk.format(nil, paths[turn % #paths + 1])
  end
end

function done(summary, latency)
  local errors = summary.errors
  print(string.format(
    'measured {"requests":%d,"duration":%d,"refused":%d,"lost":%d,"p50":%d,"p99":%d,"worst":%d}',
    summary.requests, summary.duration, errors.status,
    errors.connect + errors.read + errors.write + errors.timeout,
    latency:percentile(50), latency:percentile(99), latency.max))
end
