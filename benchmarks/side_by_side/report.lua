-- Chooses the paths and tokens of the requests, and prints the result as one line of JSON for load.py. Times are in
-- microseconds. Arguments: the tokens, one a customer, and the paths, each separated by spaces; requests use them in turn.
local tokens, paths = {}, {}
local turn = 0

local function append_words(list, words, prefix)
  for word in (words or ""):gmatch("%S+") do
    list[#list + 1] = prefix .. word
  end
end

function read_tokens(words)
  append_words(tokens, words, "Bearer ")
end

function next_token()
  turn = turn + 1
  return tokens[turn % #tokens + 1]
end

function init(args)
  read_tokens(args[1])
  append_words(paths, args[2], "")
  function request()
    if #tokens > 0 then
      wrk.headers["Authorization"] = next_token()
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
