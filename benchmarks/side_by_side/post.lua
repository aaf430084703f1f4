-- Books another free slot with each request: first on each resource, then at each start time of the day, then on the
-- next day. Arguments: the tokens as in report.lua, the first service, the number of resources per service, the first
-- resource (0 sends none), the number of resources, the start times per day, the minutes between them, and the first
-- start time in seconds since 1970.
require("report")

local sent = 0
local numbers = {}

function init(args)
  for index = 2, #args do
    numbers[index] = tonumber(args[index])
  end
  read_tokens(args[1])
  wrk.headers["Content-Type"] = "application/json"
end

function request()
  local first_service, per_service, first_resource, resources, starts, step, first_start = unpack(numbers, 2, 8)
  local index = sent % resources
  local turn = math.floor(sent / resources)
  local start = first_start + math.floor(turn / starts) * 86400 + turn % starts * step * 60
  sent = sent + 1
  wrk.headers["Authorization"] = next_token()
  local resource = first_resource > 0 and string.format('"resource_id":%d,', first_resource + index) or ""
  return wrk.format("POST", nil, nil, string.format('{"service_id":%d,%s"start_time":"%s"}',
    first_service + math.floor(index / per_service), resource, os.date("!%Y-%m-%dT%H:%M:%SZ", start)))
end
